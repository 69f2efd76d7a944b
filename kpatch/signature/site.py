"""Finds one site in an image: exactly one match, or an error that shows why.

A byte prefilter gives candidates for a site's key instruction; around each, every start in reach
is decoded and tried. A start that decoding from the routine's beginning also reaches is preferred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, cast, overload

from kpatch.errors import MatchError
from kpatch.isa.decode import Outline, decode, decode_one, outline
from kpatch.isa.instruction import MAX_LENGTH, Instruction
from kpatch.signature.match import Bindings, Hit, Miss, match_at
from kpatch.signature.model import (
    MOST_INSTRUCTIONS,
    NEEDS_ONE,
    Image,
    Signature,
    SiteRule,
)
from kpatch.signature.pattern import Choice, Gap, Unordered, lets_others_stand
from kpatch.signature.prefilter import candidates, starts
from kpatch.units import counted

_MOST_KEYS = 256
"""Places of one image that are looked at closely for a site; a real image has about 20."""


class SeveralMatchesError(MatchError):
    """A site matched more than once in one image: no other image makes up for that."""


class _Occurrence(NamedTuple):
    hit: Hit
    on_boundary: bool


def only_hit(
    data: memoryview, image: Image, signature: Signature, rule: SiteRule, names: Bindings
) -> Hit:
    """The one match of ``rule`` in an image; ``names`` are what earlier sites have bound.

    Raises MatchError where there is none, SeveralMatchesError where there are several.
    """
    start = image.header[rule.start]
    stop = image.header[rule.stop] if rule.stop else image.size
    boundaries = {instruction.address for instruction in _routine(data, start, stop)}
    hits: list[Hit] = []
    misses: list[Miss] = []
    for key in _keys(data, image, rule):
        hit = _around(data, key, rule, names, boundaries, misses)
        if hit is not None and hit not in hits:
            hits.append(hit)
    if not hits:
        raise MatchError(
            f"site '{rule.name}' matches nowhere: "
            + _nearest(misses, routine_at(data, start, stop), signature, rule, names),
            where=place_of(image),
            todo=NEEDS_ONE,
        )
    if len(hits) > 1:
        places = ", ".join(f"{hit.start:#x}-{hit.end:#x}" for hit in hits)
        raise SeveralMatchesError(
            f"site '{rule.name}' matches {counted(len(hits), 'time')}, at image offsets {places}",
            where=place_of(image),
            todo="only a module with one match can be patched",
        )
    only = hits[0]
    if not start <= only.start or not only.end <= stop:
        raise MatchError(
            f"site '{rule.name}' matches at image offsets {only.start:#x}-{only.end:#x}, "
            f"which is not inside its routine, {start:#x}-{stop:#x}",
            where=place_of(image),
            todo=NEEDS_ONE,
        )
    return only


def _keys(data: memoryview, image: Image, rule: SiteRule) -> list[int]:
    """Where the site's key instruction may stand. Raises MatchError where it is everywhere."""
    keys = list(islice(candidates(rule.key, data, 0, len(data)), _MOST_KEYS + 1))
    if len(keys) > _MOST_KEYS:
        raise MatchError(
            f"more than {_MOST_KEYS} places look like '{rule.key}', as in no kqemu",
            where=place_of(image),
            todo="give kpatch the kqemu.ko of a FreeBSD/amd64 host",
        )
    return keys


def _routine(data: memoryview, start: int, stop: int) -> Iterator[Outline]:
    """The same as :func:`routine_at`, as text only."""
    code = data[start : min(stop, start + MOST_INSTRUCTIONS * 8)]
    for instruction in islice(outline(code, start), MOST_INSTRUCTIONS):
        yield instruction
        if instruction.operation.startswith("ret"):
            break


def routine_at(data: memoryview, start: int, stop: int) -> tuple[Instruction, ...]:
    """The instructions from ``start`` on, up to a return, ``stop`` or undecodable bytes."""
    routine: list[Instruction] = []
    for instruction in decode(data[start : min(stop, start + MOST_INSTRUCTIONS * 8)], start):
        routine.append(instruction)
        if instruction.is_return or len(routine) == MOST_INSTRUCTIONS:
            break
    return tuple(routine)


def _around(
    data: memoryview,
    key: int,
    rule: SiteRule,
    names: Bindings,
    boundaries: set[int],
    misses: list[Miss],
) -> Hit | None:
    """The match whose key instruction stands at ``key``, possibly behind prefixes."""
    if not _is_key(data, key, rule.key):
        return None
    elements = rule.pattern
    most = _most_instructions(rule)
    first = _first_mnemonics(rule)
    outlined: dict[int, Outline | None] = {}
    found: list[_Occurrence] = []
    for start in starts(first, data, max(0, key - most * MAX_LENGTH), key + 1):
        chain = _chain(data, start, most, outlined)
        if not chain or chain[0].mnemonic not in first:
            continue
        if not any(each.address <= key < each.address + each.size for each in chain):
            continue
        outcome = match_at(elements, _Code(data, chain), names, rule.max_gap)
        if isinstance(outcome, Miss):
            misses.append(outcome)
        elif any(i.address <= key < i.end and i.mnemonic == rule.key for i in outcome.instructions):
            found.append(_Occurrence(outcome, start in boundaries))
    if not found:
        return None
    return max(
        found,
        key=lambda occurrence: (occurrence.on_boundary, occurrence.hit.end - occurrence.hit.start),
    ).hit


def _is_key(data: memoryview, at: int, key: str) -> bool:
    each = _outline_at(data, at)
    return each is not None and each.mnemonic == key


def _outline_at(data: memoryview, at: int) -> Outline | None:
    return next(outline(data[at : at + MAX_LENGTH], at, 1), None)


def _first_mnemonics(rule: SiteRule) -> frozenset[str]:
    head = rule.pattern[0]
    choices = head.members if isinstance(head, Unordered) else (head,)
    return frozenset(
        alternative.mnemonic
        for choice in choices
        if isinstance(choice, Choice)
        for alternative in choice.alternatives
    )


def _chain(
    data: memoryview, start: int, count: int, outlined: dict[int, Outline | None]
) -> tuple[Outline, ...]:
    """Up to ``count`` instructions from ``start`` on. Neighbouring starts soon fall in step."""
    chain: list[Outline] = []
    while len(chain) < count:
        if start not in outlined:
            _outline_on(data, start, count - len(chain), outlined)
        each = outlined[start]
        if each is None:
            break
        chain.append(each)
        start = each.address + each.size
    return tuple(chain)


def _outline_on(
    data: memoryview, start: int, count: int, outlined: dict[int, Outline | None]
) -> None:
    """Enter ``count`` instructions from ``start`` on, or fewer where the next one is known."""
    outlined[start] = None
    for each in outline(data[start : start + count * MAX_LENGTH], start, count):
        if outlined.get(each.address) is not None:
            break
        outlined[each.address] = each


class _Code(Sequence[Instruction]):
    """A chain's instructions, each decoded when it is asked for: most starts fit no further."""

    def __init__(self, data: memoryview, chain: Sequence[Outline]) -> None:
        self._data = data
        self._chain = chain

    def __len__(self) -> int:
        return len(self._chain)

    @overload
    def __getitem__(self, index: int) -> Instruction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Instruction, ...]: ...

    def __getitem__(self, index: int | slice) -> Instruction | tuple[Instruction, ...]:
        if isinstance(index, slice):
            return tuple(map(self._decoded, self._chain[index]))
        return self._decoded(self._chain[index])

    def _decoded(self, each: Outline) -> Instruction:
        code = self._data[each.address : each.address + MAX_LENGTH]
        # The same decoder has outlined it, so it is one.
        return cast("Instruction", decode_one(code, each.address))


def _most_instructions(rule: SiteRule) -> int:
    fixed = sum(
        len(element.members) if isinstance(element, Unordered) else 1
        for element in rule.pattern
        if not isinstance(element, Gap)
    )
    return fixed + (rule.max_gap if any(map(lets_others_stand, rule.pattern)) else 0)


def _nearest(
    misses: list[Miss],
    routine: tuple[Instruction, ...],
    signature: Signature,
    rule: SiteRule,
    names: Bindings,
) -> str:
    """The attempt that got furthest, in words; attempts from the routine's own instructions too."""
    most = _most_instructions(rule)
    attempts: Iterator[Hit | Miss] = (
        match_at(rule.pattern, routine[index : index + most], names, rule.max_gap)
        for index in range(len(routine))
    )
    own = [attempt for attempt in attempts if isinstance(attempt, Miss)]
    all_misses = own + misses
    if not all_misses:
        return f"there is no '{rule.key}'"
    # What comes close elsewhere in the image is not what the routine does instead.
    best = max(all_misses, key=lambda miss: (bool(miss.matched and miss in own), miss.matched))
    return (
        f"line {best.line} of the signature {signature.id}.toml does not fit at image offset "
        f"{best.address:#x}, {best.reason}"
    )


def place_of(image: Image) -> str:
    """Where an image lies, for messages."""
    return f"image at {image.section.name}+{image.at:#x} (file offset {image.start:#x})"
