"""The plan: every change that a patch makes to one module, before any of it is made.

Each site becomes a call of a trampoline, in a new code section, that does what stood there and
what was missing. The note keeps what was overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from kpatch import __version__
from kpatch.elf.content import loaded_digest
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.layouts import HEADER_SIZE
from kpatch.elf.module import Module
from kpatch.isa.instruction import Instruction
from kpatch.patch.note import Note, ReplacedBytes
from kpatch.patch.pieces import (
    call_to_trampoline,
    kernel_symbols,
    new_sections,
    own_symbols,
    place_code,
    site_relocation,
    trampoline_relocations,
)
from kpatch.patch.trampoline import Trampoline, build_trampoline
from kpatch.signature.match import Bindings
from kpatch.signature.model import Match, SiteMatch, TrampolineRule
from kpatch.units import SectionOffset


class Neutralised(NamedTuple):
    """A source fix that the plan switches off: its variant and the overwrites that do it."""

    variant: str
    overwrites: tuple[Overwrite, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a patch changes. ``trampolines[i]`` is at ``placed[i]`` of the code section."""

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
    placed, code = place_code(trampolines, signature.code_align)
    calls = tuple(call_to_trampoline(site) for site in sites)
    fix = neutralised or Neutralised("", ())
    labels = [
        *(f"{site.rule.name} site" for site in sites),
        *("source fix" for _ in fix.overwrites),
    ]
    overwrites = (*calls, *fix.overwrites)
    return Plan(
        module=module,
        match=match,
        cpuid=cpuid,
        trampolines=trampolines,
        placed=placed,
        overwrites=overwrites,
        sections=new_sections(signature, code),
        symbols=(
            *own_symbols(signature, trampolines, placed),
            *kernel_symbols(module, trampolines, signature.lock.symbol),
        ),
        relocations=(
            *(site_relocation(match, site) for site in sites),
            *trampoline_relocations(trampolines, placed, signature.code_section),
        ),
        note=Note(
            version=__version__,
            signature=signature.id,
            cpuid=cpuid,
            original_size=len(module.data),
            original_sha256=module.sha256,
            original_header=module.data[:HEADER_SIZE],
            replaced=tuple(
                _replaced(module, overwrite, what)
                for overwrite, what in zip(overwrites, labels, strict=True)
            ),
            source_fix=fix.variant,
            loaded_sha256=loaded_digest(module),
            tss_stride=tss_stride,
        ),
    )


def _trampoline(site: SiteMatch, names: Bindings, file: str) -> Trampoline:
    return _built(site.rule.trampoline, tuple(names.items()), site.instructions, site.fillers, file)


@lru_cache(maxsize=16)
def _built(
    rule: TrampolineRule,
    names: tuple[tuple[str, str | int], ...],
    displaced: tuple[Instruction, ...],
    fillers: tuple[Instruction, ...],
    file: str,
) -> Trampoline:
    """A repair is planned once to be made, and again by whoever checks what was made of it."""
    inserts = {"displaced": displaced, "fillers": fillers}
    return build_trampoline(rule, dict(names), inserts, file)


def _replaced(module: Module, change: Overwrite, what: str) -> ReplacedBytes:
    home = next(
        (s for s in module.sections if s.has_bytes and s.offset <= change.offset < s.end), None
    )
    if home is None:
        return ReplacedBytes(change.offset, change.old, change.new, what)
    at = SectionOffset(change.offset - home.offset)
    return ReplacedBytes(change.offset, change.old, change.new, what, home.name, at)
