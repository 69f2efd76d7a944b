"""The plan: every change that a patch makes to one module, before any of it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from kpatch import __version__
from kpatch.elf import constants as elf
from kpatch.elf.content import loaded_digest
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.layouts import HEADER_SIZE
from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError, MatchError, SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import INT3, NOP, decode
from kpatch.patch.note import SECTION, Note, ReplacedBytes
from kpatch.patch.trampoline import Trampoline, build_trampoline
from kpatch.signature.match import Bindings
from kpatch.signature.model import NEEDS_ONE, Match, Signature, SiteMatch
from kpatch.signature.safety import CALL_FIELD, CALL_LENGTH
from kpatch.units import SectionOffset

_CALL: Final = "movabs rax, 0x1122334455667788\ncall rax"


class Neutralised(NamedTuple):
    """A source fix that the plan switches off: its variant and the overwrites that do it."""

    variant: str
    overwrites: tuple[Overwrite, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a patch changes. ``trampolines`` lie in the code section at ``placed``."""

    module: Module
    match: Match
    cpuid: int
    trampolines: tuple[Trampoline, ...]
    placed: tuple[int, ...]
    overwrites: tuple[Overwrite, ...]
    sections: tuple[NewSection, ...]
    symbols: tuple[NewSymbol, ...]
    relocations: tuple[NewRelocation, ...]
    note: Note


def make_plan(
    module: Module,
    match: Match,
    *,
    cpuid: int,
    tss_stride: int,
    neutralised: Neutralised | None = None,
) -> Plan:
    """Plan the patch of ``module`` at ``match``.

    ``cpuid`` is the byte offset of that field in the host's struct pcpu, ``tss_stride`` the bytes
    from one element of common_tss to the next. Raises SignatureError for a signature that cannot
    be carried out, MatchError for a module that defines a symbol of the kernel.
    """
    signature = match.signature
    names: Bindings = {**match.names, "cpuid": cpuid, "tss_stride": tss_stride}
    sites = tuple(match.sites.values())
    trampolines = tuple(_trampoline(site, names, signature.file) for site in sites)
    placed, code = _place(trampolines, signature.code_align)
    calls = tuple(_call_site(site) for site in sites)
    extra = neutralised or Neutralised("", ())
    whats = [
        *(f"{site.rule.name} site" for site in sites),
        *("source fix" for _ in extra.overwrites),
    ]
    overwrites = (*calls, *extra.overwrites)
    return Plan(
        module=module,
        match=match,
        cpuid=cpuid,
        trampolines=trampolines,
        placed=placed,
        overwrites=overwrites,
        sections=_sections(signature, code),
        symbols=(
            *_symbols(signature, trampolines, placed),
            *_undefined(module, trampolines, signature.lock.symbol),
        ),
        relocations=(
            *(_site_relocation(match, site) for site in sites),
            *_trampoline_relocations(trampolines, placed, signature.code_section),
        ),
        note=Note(
            version=__version__,
            signature=signature.id,
            cpuid=cpuid,
            original_size=len(module.data),
            original_sha256=module.sha256,
            original_header=module.data[:HEADER_SIZE],
            replaced=tuple(
                _replaced(module, each, what) for each, what in zip(overwrites, whats, strict=True)
            ),
            source_fix=extra.variant,
            loaded_sha256=loaded_digest(module),
            tss_stride=tss_stride,
        ),
    )


def _sections(signature: Signature, code: bytes) -> tuple[NewSection, NewSection]:
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


def _symbols(
    signature: Signature, trampolines: Sequence[Trampoline], placed: Sequence[int]
) -> tuple[NewSymbol, ...]:
    """A symbol for each trampoline and for the lock."""
    lock = signature.lock
    return (
        *(
            NewSymbol(
                name=each.symbol,
                section=signature.code_section,
                value=at,
                size=len(each.code),
                type=elf.STT_FUNC,
            )
            for at, each in zip(placed, trampolines, strict=True)
        ),
        NewSymbol(
            name=lock.symbol, section=lock.section, value=0, size=lock.size, type=elf.STT_OBJECT
        ),
    )


def _replaced(module: Module, change: Overwrite, what: str) -> ReplacedBytes:
    home = next(
        (s for s in module.sections if s.has_bytes and s.offset <= change.offset < s.end), None
    )
    if home is None:
        return ReplacedBytes(change.offset, change.old, change.new, what)
    at = SectionOffset(change.offset - home.offset)
    return ReplacedBytes(change.offset, change.old, change.new, what, home.name, at)


def note_section(note: Note) -> NewSection:
    """The note as a section. SHT_NOTE: the kernel linker skips it."""
    return NewSection(name=SECTION, type=elf.SHT_NOTE, flags=0, align=4, contents=note.pack())


def _trampoline(site: SiteMatch, names: Bindings, file: str) -> Trampoline:
    inserts = {"displaced": site.instructions, "fillers": site.fillers}
    return build_trampoline(site.rule.trampoline, names, inserts, file)


def _place(trampolines: Sequence[Trampoline], align: int) -> tuple[tuple[int, ...], bytes]:
    placed: list[int] = []
    code = bytearray()
    for trampoline in trampolines:
        code += INT3 * (-len(code) % align)
        placed.append(len(code))
        code += trampoline.code
    return tuple(placed), bytes(code)


def _call_site(site: SiteMatch) -> Overwrite:
    """``movabs rax, trampoline; call rax`` and nops; the relocation fills the address in."""
    call = bytearray(assemble(_CALL))
    texts = [each.text for each in decode(bytes(call))]
    if texts != _CALL.split("\n") or len(call) != CALL_LENGTH:
        raise SignatureError(
            f"the call to a trampoline assembles to {texts}",
            where=site.rule.name,
            todo="install another release of keystone-engine",
        )
    call[CALL_FIELD] = bytes(8)
    call += NOP * (len(site.raw) - len(call))
    return Overwrite(offset=site.file_offset, old=site.raw, new=bytes(call))


def _site_relocation(match: Match, site: SiteMatch) -> NewRelocation:
    return NewRelocation(
        section=match.image.section.index,
        offset=SectionOffset(site.section_offset + CALL_FIELD.start),
        type=elf.R_X86_64_64,
        symbol=site.rule.trampoline.symbol,
        addend=0,
    )


def _trampoline_relocations(
    trampolines: Sequence[Trampoline], placed: Sequence[int], section: str
) -> list[NewRelocation]:
    return [
        NewRelocation(
            section=section,
            offset=SectionOffset(at + fixup.offset),
            type=elf.R_X86_64_64,
            symbol=fixup.symbol,
            addend=0,
        )
        for at, each in zip(placed, trampolines, strict=True)
        for fixup in each.fixups
    ]


def _undefined(module: Module, trampolines: Sequence[Trampoline], lock: str) -> list[NewSymbol]:
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
