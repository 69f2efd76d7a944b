"""The trampolines of a plan, line by line, with the comments that the signature gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kpatch.patch.plan import Plan
from kpatch.patch.trampoline import Trampoline
from kpatch.signature.pattern import InstructionPattern, Label, Placeholder, SourceLine

_PLACED = {
    "displaced": "displaced: what stood at the site",
    "fillers": "displaced: what stood between the instructions of the site",
}


class AnnotatedLine(NamedTuple):
    """One instruction: offset in the trampoline, bytes in hexadecimal, text, what it is for.

    ``label`` is the signature's name for the place, ``target`` the symbol whose address it holds.
    """

    offset: int
    raw: str
    text: str
    label: str
    target: str
    comment: str


class AnnotatedTrampoline(NamedTuple):
    """A trampoline, the symbol that stands for it, and the site that calls it."""

    site: str
    symbol: str
    lines: tuple[AnnotatedLine, ...]


def annotated(plan: Plan) -> tuple[AnnotatedTrampoline, ...]:
    """Every trampoline of ``plan``, in the order of its sites."""
    return tuple(
        AnnotatedTrampoline(rule.name, made.symbol, tuple(_lines(made, rule.trampoline.source)))
        for rule, made in zip(plan.match.signature.sites, plan.trampolines, strict=True)
    )


def _lines(made: Trampoline, source: tuple[SourceLine, ...]) -> Iterator[AnnotatedLine]:
    """The source's instructions are those of the trampoline, in order.

    Only a placeholder stands for any number of them: as many as the others leave over.
    """
    placed = len(made.instructions) - sum(isinstance(line, InstructionPattern) for line in source)
    rest = iter(made.instructions)
    targets = {fixup.offset: fixup.symbol for fixup in made.fixups}
    label = ""
    for line in source:
        if isinstance(line, Label):
            label = line.name
            continue
        count = placed if isinstance(line, Placeholder) else 1
        comment = (
            _PLACED.get(line.name, line.name) if isinstance(line, Placeholder) else line.comment
        )
        for _ in range(count):
            each = next(rest)
            target = targets.get(each.address + each.immediate_at, "")
            yield AnnotatedLine(each.address, each.raw.hex(), each.text, label, target, comment)
            label = ""
