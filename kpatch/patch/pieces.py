"""The pieces that a plan is made of: sections, symbols, relocations, and the call at a site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError, MatchError, SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode
from kpatch.isa.instruction import INT3, NOP
from kpatch.patch.note import SECTION
from kpatch.patch.trampoline import Trampoline
from kpatch.signature.model import NEEDS_ONE, Match, Signature, SiteMatch
from kpatch.signature.safety import CALL_FIELD, CALL_LENGTH
from kpatch.units import SectionOffset

_CALL: Final = "movabs rax, 0x1122334455667788\ncall rax"


def new_sections(signature: Signature, code: bytes) -> tuple[NewSection, NewSection]:
    """The trampolines, and the lock in a page of its own."""
    lock = signature.lock
    return (
        NewSection(
            name=signature.code_section,
            type=elf.SHT_PROGBITS,
            flags=elf.SHF_ALLOC | elf.SHF_EXECINSTR,
            align=signature.code_align,
            contents=code,
        ),
        NewSection(
            name=lock.section,
            type=elf.SHT_NOBITS,
            flags=elf.SHF_ALLOC | elf.SHF_WRITE,
            align=lock.page,
            contents=b"",
            size=lock.page,
        ),
    )


def own_symbols(
    signature: Signature, trampolines: Sequence[Trampoline], placed: Sequence[int]
) -> tuple[NewSymbol, ...]:
    """A symbol for each trampoline and for the lock."""
    lock = signature.lock
    return (
        *(
            NewSymbol(
                name=trampoline.symbol,
                section=signature.code_section,
                value=at,
                size=len(trampoline.code),
                type=elf.STT_FUNC,
            )
            for at, trampoline in zip(placed, trampolines, strict=True)
        ),
        NewSymbol(
            name=lock.symbol, section=lock.section, value=0, size=lock.size, type=elf.STT_OBJECT
        ),
    )


def note_section(note: bytes) -> NewSection:
    """The packed note as a section. SHT_NOTE: the kernel linker skips it."""
    return NewSection(name=SECTION, type=elf.SHT_NOTE, flags=0, align=4, contents=note)


def place_code(trampolines: Sequence[Trampoline], align: int) -> tuple[tuple[int, ...], bytes]:
    """The code section: where each trampoline lies in it, and its bytes, padded with int3."""
    placed: list[int] = []
    code = bytearray()
    for trampoline in trampolines:
        code += INT3 * (-len(code) % align)
        placed.append(len(code))
        code += trampoline.code
    return tuple(placed), bytes(code)


def call_to_trampoline(site: SiteMatch) -> Overwrite:
    """``movabs rax, trampoline; call rax`` and nops; the relocation fills the address in."""
    call = bytearray(assemble(_CALL))
    texts = [instruction.text for instruction in decode(bytes(call))]
    if texts != _CALL.split("\n") or len(call) != CALL_LENGTH:
        raise SignatureError(
            f"the call to a trampoline assembles to {texts}",
            where=site.rule.name,
            todo="install another release of keystone-engine",
        )
    call[CALL_FIELD] = bytes(8)
    call += NOP * (len(site.raw) - len(call))
    return Overwrite(offset=site.file_offset, old=site.raw, new=bytes(call))


def site_relocation(match: Match, site: SiteMatch) -> NewRelocation:
    """Fills the trampoline's address in, in the call at a site."""
    return NewRelocation(
        section=match.image.section.index,
        offset=SectionOffset(site.section_offset + CALL_FIELD.start),
        type=elf.R_X86_64_64,
        symbol=site.rule.trampoline.symbol,
        addend=0,
    )


def trampoline_relocations(
    trampolines: Sequence[Trampoline], placed: Sequence[int], section: str
) -> list[NewRelocation]:
    """Fill in the addresses that the trampolines hold."""
    return [
        NewRelocation(
            section=section,
            offset=SectionOffset(at + fixup.offset),
            type=elf.R_X86_64_64,
            symbol=fixup.symbol,
            addend=0,
        )
        for at, trampoline in zip(placed, trampolines, strict=True)
        for fixup in trampoline.fixups
    ]


def kernel_symbols(module: Module, trampolines: Sequence[Trampoline], lock: str) -> list[NewSymbol]:
    """Symbols of the kernel: one that lacks them refuses the module, which is the safe failure.

    Raises MatchError where the module has such a symbol of its own, which would be taken instead.
    """
    wanted = sorted(
        {fixup.symbol for trampoline in trampolines for fixup in trampoline.fixups} - {lock}
    )
    for name in wanted:
        _require_plain(module, name)
        symbol = module.defined(name)
        if symbol is not None and not symbol.is_local:
            raise MatchError(
                f"it defines {name} itself, which the patch needs from the kernel",
                where=module.name,
                todo=NEEDS_ONE,
            )
    return [NewSymbol(name=name, section=None, type=elf.STT_NOTYPE) for name in wanted]


def _require_plain(module: Module, name: str) -> None:
    """Raise LinkerRefusalError for an undefined ``name`` that the kernel linker would not look up.

    It looks up global symbols only (link_elf_obj.c, elf_obj_lookup).
    """
    symbol = module.symbol_named(name)
    if symbol is not None and symbol.is_undefined and symbol.bind != elf.STB_GLOBAL:
        raise LinkerRefusalError(
            f"its undefined symbol {name} is weak or local, and the kernel looks up neither; the "
            "patch needs it",
            where=module.name,
            todo=f"run 'objcopy --globalize-symbol={name}' on the module, or build it without "
            "that declaration",
        )
