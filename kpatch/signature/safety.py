"""Whether what matched may be displaced. Everything here is checked on the code itself.

- no relocation lies on the site;
- it is long enough for the call that replaces it;
- two decoders agree on what the displaced instructions do, and it is the same elsewhere;
- every way from the start of its routine comes to it, before the stack pointer is saved;
- nothing in the switch jumps into the middle of it;
- what the trampoline changes is dead behind the site;
- what it runs in the site's stead does not need the register that the call goes through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from kpatch.elf.constants import relocation_name
from kpatch.elf.module import Module
from kpatch.errors import MatchError
from kpatch.isa.agreed import effects_of
from kpatch.isa.decode import decode_one, outline
from kpatch.isa.instruction import MAX_LENGTH, Instruction, Memory, Register
from kpatch.signature.liveness import reader, still_needed
from kpatch.signature.model import MOST_INSTRUCTIONS, NEEDS_ONE, Match, SiteMatch
from kpatch.signature.moving import cannot_be_displaced, cannot_be_moved, is_moved
from kpatch.units import counted

CALL_LENGTH: Final = 12
"""movabs rax, imm64 (10 bytes) and call rax (2 bytes)."""

CALL_FIELD: Final = slice(2, 10)
"""The address in them, behind REX and the opcode."""

CALL_REGISTER: Final = "rax"

_LONG_OPCODES: Final = (rb"\xe8(?=", rb"\xe9(?=", rb"\x0f(?=[\x80-\x8f]")
"""call, jmp and jcc with a 32-bit distance from their end, the rest of them to be looked ahead for.
SDM vol. 2, CALL, JMP, Jcc. One expression each: what starts with a certain byte is found soonest.
"""


def require_patchable(module: Module, match: Match) -> None:
    """Raise MatchError with the reason, if a site of ``match`` may not be displaced."""
    data = module.view(match.image.section)[match.image.at :][: match.image.size]
    branches = (
        *_switch_branches(data, match),
        *_long_branches(data, match.signature.image.first_page),
    )
    for site in match.sites.values():
        _no_relocation(module, match, site)
        _long_enough(site)
        _displaceable(match, site)
        _no_jump_inside(branches, match, site)
        _always_reached(data, match, site)
        _clobbers_are_dead(data, match, site)


def _refuse(match: Match, site: SiteMatch, what: str) -> MatchError:
    return MatchError(
        f"site '{site.rule.name}' at image offset {site.start:#x} cannot be displaced: {what}",
        where=f"{match.image.section.name}+{site.section_offset:#x}",
        todo=NEEDS_ONE,
    )


def _no_relocation(module: Module, match: Match, site: SiteMatch) -> None:
    start = site.section_offset
    hits = module.relocations_at(match.image.section.index, start, start + len(site.raw))
    if hits:
        raise _refuse(
            match,
            site,
            f"the relocation {relocation_name(hits[0].type)} writes to it, "
            f"at {match.image.section.name}+{hits[0].offset:#x}",
        )


def _long_enough(site: SiteMatch) -> None:
    if len(site.raw) < CALL_LENGTH:
        raise MatchError(
            f"site '{site.rule.name}' has {counted(len(site.raw), 'byte')}, "
            f"the call needs {CALL_LENGTH}",
            where=f"image offset {site.start:#x}",
            todo=NEEDS_ONE,
        )


def _displaceable(match: Match, site: SiteMatch) -> None:
    for instruction in site.instructions:
        why = cannot_be_displaced(instruction)
        if not why and instruction in site.fillers and is_moved(site):
            moved = cannot_be_moved(instruction, site, match.names)
            why = f"cannot be run in front of the others: {moved}" if moved else ""
        if why:
            raise _cannot(site, instruction, why)
    needs = reader(site.fillers, CALL_REGISTER)
    if needs is not None:
        why = f"reads {CALL_REGISTER}, through which the call to the trampoline goes"
        raise _cannot(site, needs, why)


def _cannot(site: SiteMatch, each: Instruction, why: str) -> MatchError:
    return MatchError(
        f"site '{site.rule.name}': '{each.text}' {why}",
        where=f"image offset {each.address:#x}",
        todo=NEEDS_ONE,
    )


def _always_reached(data: memoryview, match: Match, site: SiteMatch) -> None:
    """What one trampoline leaves on the stack, the other takes: neither may be passed by."""
    start = at = match.image.header[site.rule.start]
    while at < site.start:
        each = decode_one(data[at : at + MAX_LENGTH], at)
        known = effects_of(bytes(data[at : at + MAX_LENGTH]))
        if each is None or known is None:
            raise _refuse(match, site, f"what is in front of it, at {at:#x}, does not decode")
        if not known.understood:
            raise _refuse(
                match,
                site,
                f"two decoders differ about '{each.text}' at {at:#x}, in front of it: "
                f"{known.doubts[0]}",
            )
        said = f"'{each.text}' at {at:#x}, in front of it,"
        target = each.branch_target
        if each.transfers_control and target is None:
            raise _refuse(match, site, f"{said} leads away")
        if each.is_branch and target is not None and not start <= target <= site.start:
            raise _refuse(match, site, f"{said} goes round it")
        if isinstance(each.operands[0] if each.operands else None, Memory) and any(
            isinstance(o, Register) and o.whole == "rsp" for o in each.operands
        ):
            raise _refuse(match, site, f"{said} saves the stack pointer, which it moves")
        if each.end > site.start:
            raise _refuse(match, site, f"it begins inside of '{each.text}' at {at:#x}")
        at = each.end


def _no_jump_inside(
    branches: tuple[tuple[str, int, int], ...], match: Match, site: SiteMatch
) -> None:
    """Short jumps come from the switch itself; a long one may come from anywhere in the image."""
    for text, at, target in branches:
        inside = site.start <= at < site.end
        if site.start < target < site.end and not inside:
            raise _refuse(match, site, f"'{text}' at {at:#x} jumps into it")


def _switch_branches(data: memoryview, match: Match) -> Iterator[tuple[str, int, int]]:
    marks = [match.image.header[name] for name in match.signature.image.ascending]
    stop = max(marks[-1], *(site.end for site in match.sites.values())) + MOST_INSTRUCTIONS
    # What stands between two routines need not be code, so decoding starts again at each.
    for start, end in pairwise((*marks, stop)):
        at = start
        while at < end:
            for instruction in outline(data[at:end], at):
                if instruction.branch_target is not None:
                    text = f"{instruction.mnemonic} {instruction.operands}"
                    yield text, instruction.address, instruction.branch_target
                at = instruction.address + instruction.size
            at += 1


def _long_branches(data: memoryview, first_page: int) -> Iterator[tuple[str, int, int]]:
    """Branches with a four-byte distance that may lead into the first page, where the sites are.

    The upper half of the distance tells most others apart: that of a distance backwards from
    anywhere in the image, and of one forwards within the page.
    """
    farthest = re.escape(bytes((0xFF - min(len(data) >> 16, 0xFF),)))
    for opcode in _LONG_OPCODES:
        backward = re.compile(opcode + rb"(..[" + farthest + rb"-\xff]\xff))", re.DOTALL)
        forward = re.compile(opcode + rb"(..\0\0))", re.DOTALL)
        for found in (*backward.finditer(data), *forward.finditer(data, 0, first_page)):
            target = found.end(1) + int.from_bytes(found[1], "little", signed=True)
            if 0 <= target < first_page:
                yield f"a branch to {target:#x}", found.start(), target


def _clobbers_are_dead(data: memoryview, match: Match, site: SiteMatch) -> None:
    changed = set(site.rule.trampoline.clobbers)
    for instruction in site.own:
        known = effects_of(instruction.raw)
        changed |= set(known.effects.may_write if known else _GENERAL)
    if site.state in changed and site.state in match.names.values():
        raise _refuse(match, site, f"the trampoline needs {site.state}, which holds the state")
    onward = match.image.header[site.rule.stop] if site.rule.stop else None
    for register in sorted(changed):
        reason = still_needed(data, site.end, register, onward)
        if reason:
            raise _refuse(match, site, f"{reason}, and the trampoline changes it")


_GENERAL: Final = frozenset(
    {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16))}
)
