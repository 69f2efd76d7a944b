"""Whether what matched may be displaced. Everything here is checked on the code itself.

- no relocation lies on the site;
- it is long enough for the call that replaces it;
- the displaced instructions mean the same elsewhere;
- nothing in the switch jumps into the middle of it;
- what the trampoline changes is dead behind the site.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kpatch.elf.module import Module
from kpatch.errors import MatchError
from kpatch.isa.decode import Instruction, Memory, Register, decode_one, outline
from kpatch.signature.model import MOST_INSTRUCTIONS, Match, SiteMatch

CALL_LENGTH: Final = 12
"""movabs rax, imm64 (10 bytes) and call rax (2 bytes)."""

_PARTIAL: Final = 4
"""A write of fewer bytes leaves the rest of the register. SDM vol. 1, 3.4.1.1."""


def require_patchable(module: Module, match: Match) -> None:
    """Raise MatchError with the reason, if a site of ``match`` may not be displaced."""
    data = module.contents(match.image.section)[match.image.at :][: match.image.size]
    for site in match.sites.values():
        _no_relocation(module, match, site)
        _long_enough(site)
        _relocatable(site)
        _no_jump_inside(data, match, site)
        _clobbers_are_dead(data, match, site)


def _refuse(match: Match, site: SiteMatch, what: str) -> MatchError:
    return MatchError(
        f"site '{site.rule.name}' at image offset {site.start:#x} cannot be displaced: {what}",
        where=f"{match.image.section.name}+{site.section_offset:#x}",
        todo="this build needs a signature of its own",
    )


def _no_relocation(module: Module, match: Match, site: SiteMatch) -> None:
    start = site.section_offset
    hits = module.relocations_at(match.image.section.index, start, start + len(site.raw))
    if hits:
        raise _refuse(
            match, site, f"a relocation of type {hits[0].type} writes to it at +{hits[0].offset:#x}"
        )


def _long_enough(site: SiteMatch) -> None:
    if len(site.raw) < CALL_LENGTH:
        raise MatchError(
            f"site '{site.rule.name}' has {len(site.raw)} bytes, the call needs {CALL_LENGTH}",
            where=f"image offset {site.start:#x}",
            todo="this build needs a signature of its own",
        )


def _relocatable(site: SiteMatch) -> None:
    for each in site.instructions:
        uses_stack = "rsp" in each.reads | each.writes
        if each.is_position_dependent or each.transfers_control or uses_stack:
            raise MatchError(
                f"site '{site.rule.name}': '{each.text}' means something else elsewhere",
                where=f"image offset {each.address:#x}",
                todo="this build needs a signature of its own",
            )


def _no_jump_inside(data: bytes, match: Match, site: SiteMatch) -> None:
    marks = [match.image.header[name] for name in match.signature.image.ascending]
    start, stop = marks[0], max(site.end, marks[-1])
    for each in outline(data[start : stop + MOST_INSTRUCTIONS], start):
        target = each.branch_target
        inside = site.start <= each.address < site.end
        if target is not None and site.start < target < site.end and not inside:
            text = f"{each.mnemonic} {each.operands}"
            raise _refuse(match, site, f"'{text}' at {each.address:#x} jumps into it")


def _clobbers_are_dead(data: bytes, match: Match, site: SiteMatch) -> None:
    changed = set(site.rule.trampoline.clobbers)
    for each in site.instructions:
        if each not in site.fillers:
            changed |= each.writes & _GENERAL
    held = {value for value in match.names.values() if isinstance(value, str)}
    base = next(iter(held & {_state_register(site)}), None)
    if base in changed:
        raise _refuse(match, site, f"the trampoline needs {base}, which holds the state")
    for register in sorted(changed):
        reader = _first_reader(data, site.end, register)
        if reader is not None:
            raise _refuse(
                match,
                site,
                f"'{reader.text}' at {reader.address:#x} still reads {register}, "
                "which the trampoline changes",
            )


_GENERAL: Final = frozenset(
    {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16))}
)


def _state_register(site: SiteMatch) -> str | None:
    for each in site.instructions:
        for operand in each.operands:
            if isinstance(operand, Memory):
                return operand.base
    return None


def _first_reader(data: bytes, start: int, register: str) -> Instruction | None:
    """The first instruction that reads ``register`` on some way from ``start``; None if dead.

    Ways end at a return (the C side and the monitor side take nothing in these registers) and
    where the register is written whole.
    """
    pending, seen = [start], set[int]()
    while pending and len(seen) < MOST_INSTRUCTIONS:
        address = pending.pop()
        if address in seen or not 0 <= address < len(data):
            continue
        seen.add(address)
        each = decode_one(data[address : address + 15], address)
        if each is None:
            continue
        if register in each.reads and not _is_zeroing(each):
            return each
        if each.is_return or _writes_whole(each, register):
            continue
        pending.extend(_successors(each))
    return None


def _successors(each: Instruction) -> Iterator[int]:
    if each.is_branch and each.branch_target is not None:
        yield each.branch_target
    if not (each.is_branch and each.mnemonic == "jmp"):
        yield each.end


def _writes_whole(each: Instruction, register: str) -> bool:
    if register not in each.writes:
        return False
    named = [o for o in each.operands if isinstance(o, Register) and o.whole == register]
    return not named or max(o.size for o in named) >= _PARTIAL


def _is_zeroing(each: Instruction) -> bool:
    """``xor r, r`` reads nothing that matters."""
    return (
        each.mnemonic in ("xor", "sub")
        and len(each.operands) == 2
        and isinstance(each.operands[0], Register)
        and each.operands[0] == each.operands[1]
    )
