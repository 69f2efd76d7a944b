"""What a patch leaves in a module beside its note: sections and symbols that a signature names.

A tool that takes the note away leaves these; one that lays the file out anew only moves them. So
they tell a patched module, and where in it the patch lies now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Relocation, Section
from kpatch.errors import DamagedFileError
from kpatch.isa.instruction import INT3, NOP
from kpatch.patch.note import RESTORE, note_sections
from kpatch.signature.model import Signature, SiteRule
from kpatch.signature.safety import CALL_FIELD, CALL_LENGTH
from kpatch.units import SectionOffset, counted


class Traces(NamedTuple):
    """The sections of a patch, as far as they are left. ``signature`` names them."""

    signature: Signature
    code: Section | None
    lock: Section | None
    notes: tuple[Section, ...]


class PatchedSite(NamedTuple):
    """A site that calls a trampoline: ``room`` bytes from ``start``, the call and its nops."""

    rule: SiteRule
    section: Section
    start: SectionOffset
    room: int
    call: Relocation
    trampoline: bytes


def traces_of(module: Module, signatures: Iterable[Signature]) -> Traces | None:
    """The traces of the first signature that left any, or None. A note alone is none."""
    for signature in signatures:
        code = module.section_named(signature.code_section)
        lock = module.section_named(signature.lock.section)
        names = {signature.lock.symbol, *(site.trampoline.symbol for site in signature.sites)}
        if code or lock or any(module.defined(name) for name in names):
            return Traces(signature, code, lock, note_sections(module))
    return None


def places_of(module: Module, traces: Traces) -> tuple[PatchedSite, ...]:
    """The sites, in the order of the signature: the trampolines lie in that order.

    Raises DamagedFileError where there are not as many calls as sites, or one is overwritten.
    """
    code = traces.code
    if code is None or traces.lock is None:
        raise _broken(module, "the section of its code, or of its lock, is gone")
    found = [
        (target, relocation)
        for relocation in module.relocations
        if relocation.target not in (code.index, 0)
        and (target := _target(module, relocation, code)) is not None
    ]
    calls = sorted(found, key=lambda call: call[0])
    rules = traces.signature.sites
    if len(calls) != len(rules):
        calls_found = counted(len(calls), "call")
        raise _broken(module, f"it has {calls_found} of its {counted(len(rules), 'trampoline')}")
    contents = module.contents(code)
    ends = [*(target for target, _ in calls[1:]), len(contents)]
    return tuple(
        _place(module, rule, call, contents[target:end].rstrip(INT3))
        for rule, (target, call), end in zip(rules, calls, ends, strict=True)
    )


def _target(module: Module, relocation: Relocation, code: Section) -> int | None:
    """The offset in the code section that a relocation stands for, if any."""
    if relocation.type != elf.R_X86_64_64 or relocation.symbol >= len(module.symbols):
        return None
    symbol = module.symbols[relocation.symbol]
    target = symbol.value + relocation.addend
    return target if symbol.section == code.index and 0 <= target < code.size else None


def _place(module: Module, rule: SiteRule, call: Relocation, trampoline: bytes) -> PatchedSite:
    section = module.sections[call.target]
    contents = module.view(section)
    start = call.offset - CALL_FIELD.start
    end = start + CALL_LENGTH
    if start < 0 or end > len(contents):
        raise _broken(module, f"the {rule.name} site lies outside its section")
    while end < len(contents) and contents[end] == NOP[0]:
        end += 1
    return PatchedSite(rule, section, SectionOffset(start), end - start, call, trampoline)


def _broken(module: Module, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"patched by kpatch, but not whole: {what}",
        where=module.name,
        todo=RESTORE,
    )
