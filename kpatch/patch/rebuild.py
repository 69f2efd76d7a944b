"""Rebuilds the bytes that a patch displaced, from its trampolines, for a module without its note.

The trampolines hold the displaced instructions, or bind every name that the site's pattern has.
Registers that only the site used are lost, so what comes out does the same and need not be the
same bytes: enough for a proof, never for the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Final, NamedTuple

from kpatch.errors import DamagedFileError, SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.calling import SCRATCH
from kpatch.isa.decode import decode
from kpatch.isa.instruction import NOP, Instruction
from kpatch.patch.note import RESTORE
from kpatch.patch.traces import PatchedSite
from kpatch.patch.trampoline import assembler_text
from kpatch.signature.match import Bindings, match_instruction
from kpatch.signature.pattern import (
    Choice,
    InstructionPattern,
    LabelTarget,
    Placeholder,
    RegisterHole,
    SymbolAddress,
    Unordered,
)

_MOST_TRIALS: Final = 64


class Rebuilt(NamedTuple):
    """What the trampolines tell: every name that they bind, and bytes for each site to try."""

    names: Mapping[str, str | int]
    sites: tuple[tuple[bytes, ...], ...]


def rebuild(places: Sequence[PatchedSite], where: str) -> Rebuilt:
    """Read the trampolines back. Raises DamagedFileError where they are none of this kpatch."""
    names: Bindings = {}
    inserted: list[tuple[Instruction, ...]] = []
    for place in places:
        names, found = _read_back(place, names, where)
        inserted.append(found)
    sites: list[tuple[bytes, ...]] = []
    for place, instructions in zip(places, inserted, strict=True):
        if _inserts(place) == "displaced":
            sites.append((b"".join(instruction.raw for instruction in instructions),))
        else:
            sites.append(tuple(_spelt(place, names, instructions)))
    if not all(sites):
        raise _other(where, "no instructions of the site fit the room that it has")
    return Rebuilt(names, tuple(sites))


def _inserts(place: PatchedSite) -> str:
    source = place.rule.trampoline.source
    return next((line.name for line in source if isinstance(line, Placeholder)), "")


def _read_back(
    place: PatchedSite, names: Bindings, where: str
) -> tuple[Bindings, tuple[Instruction, ...]]:
    """The names that a trampoline binds, and the instructions that stand for its placeholder."""
    source = place.rule.trampoline.source
    lines = [line for line in source if isinstance(line, InstructionPattern | Placeholder)]
    code = tuple(decode(place.trampoline))
    extra = len(code) - (len(lines) - 1)
    at = next((i for i, line in enumerate(lines) if isinstance(line, Placeholder)), len(lines))
    if extra < 0 or sum(len(instruction.raw) for instruction in code) != len(place.trampoline):
        raise _other(where, f"{place.rule.trampoline.symbol} does not read")
    fixed = [*code[:at], *code[at + extra :]]
    for line, instruction in zip((*lines[:at], *lines[at + 1 :]), fixed, strict=True):
        if not isinstance(line, InstructionPattern) or _is_open(line):
            continue
        bound = match_instruction(line, instruction, names)
        if isinstance(bound, str):
            raise _other(where, f"{place.rule.trampoline.symbol} has '{instruction.text}'")
        names = bound
    return names, code[at : at + extra]


def _is_open(line: InstructionPattern) -> bool:
    """Whether it holds an address that only patching again can compare."""
    return any(isinstance(operand, LabelTarget | SymbolAddress) for operand in line.operands)


def _spelt(place: PatchedSite, names: Bindings, fillers: Sequence[Instruction]) -> Iterator[bytes]:
    """Ways to write the site's pattern with ``names``, the fillers behind its first line."""
    choices: list[tuple[InstructionPattern, ...]] = []
    for element in place.rule.pattern:
        members = element.members if isinstance(element, Unordered) else (element,)
        choices += [member.alternatives for member in members if isinstance(member, Choice)]
    between = b"".join(filler.raw for filler in fillers)
    trials = 0
    for lines in product(*choices):
        for free in _registers(lines, names):
            trials += 1
            if trials > _MOST_TRIALS:
                return
            try:
                first, *rest = (assemble(assembler_text(line, free)) for line in lines)
            except (SignatureError, KeyError):
                continue  # beyond the assembler, or with a name that no trampoline binds
            code = first + between + b"".join(rest)
            if len(code) <= place.room:
                yield code + NOP * (place.room - len(code))


def _registers(lines: Sequence[InstructionPattern], names: Bindings) -> Iterator[Bindings]:
    """``names`` and scratch registers for those that no trampoline binds."""
    holes = {
        operand.name: None
        for line in lines
        for operand in line.operands
        if isinstance(operand, RegisterHole)
    }
    unbound = [name for name in holes if name not in names]
    taken = set(names.values())
    for chosen in permutations(
        [register for register in SCRATCH if register not in taken], len(unbound)
    ):
        yield {**names, **dict(zip(unbound, chosen, strict=True))}


def _other(where: str, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"patched by kpatch, without its note, and its trampolines are none of this kpatch: {what}",
        where=where,
        todo=RESTORE,
    )
