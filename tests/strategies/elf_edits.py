"""Edits that fit a module."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.module import Module, Section
from kpatch.units import FileOffset, SectionOffset
from tests.editing import append
from tests.strategies.elf_builder import EXTERNALS

_TYPES = (elf.R_X86_64_64, elf.R_X86_64_PC32, elf.R_X86_64_32S)


@dataclass(frozen=True)
class Edits:
    """What ``append`` is asked to do."""

    overwrites: tuple[Overwrite, ...] = ()
    sections: tuple[NewSection, ...] = ()
    symbols: tuple[NewSymbol, ...] = ()
    relocations: tuple[NewRelocation, ...] = ()

    def done_to(self, module: Module) -> bytes:
        """The module's file with these edits."""
        return append(
            module,
            overwrites=self.overwrites,
            sections=self.sections,
            symbols=self.symbols,
            relocations=self.relocations,
        )


@st.composite
def edits(draw: st.DrawFn, module: Module, *, tag: str = "kpatch") -> Edits:
    """Edits that fit ``module``; all names that they add end in ``tag``."""
    sections = tuple(
        NewSection(name, elf.SHT_NOBITS, elf.SHF_WRITE | elf.SHF_ALLOC, align, size=64)
        if name.startswith(".bss")
        else NewSection(name, elf.SHT_PROGBITS, elf.SHF_ALLOC, align, bytes([0x90]) * 64)
        for name in draw(st.lists(st.sampled_from((f".text.{tag}", f".bss.{tag}")), unique=True))
        for align in (draw(st.sampled_from((1, 4, 16, 64, 4096))),)
    )
    homes = st.sampled_from([None, *(section.name for section in sections)])
    symbols = tuple(
        NewSymbol(f"{name}_{tag}", draw(homes), draw(st.integers(0, 63)), 1, elf.STT_OBJECT)
        for name in draw(st.lists(st.sampled_from(("entry", "exit", "lock", "ext")), unique=True))
    )
    known = [s.name for s in module.symbols if s.name and not s.is_local]
    wanted = NewSymbol(draw(st.sampled_from(EXTERNALS)), None)
    relocations = _new_relocations(draw, module, sections, (*known, *(s.name for s in symbols)))
    symbols = symbols if wanted.name in {s.name for s in symbols} else (*symbols, wanted)
    return Edits(_overwrites(draw, module), sections, symbols, relocations)


def _is_plain(section: Section) -> bool:
    """Whether any bytes will do in it: other tools look into frame tables and merged strings."""
    is_loose = section.flags & (elf.SHF_ALLOC | elf.SHF_MERGE) == elf.SHF_ALLOC
    is_plain = section.type == elf.SHT_PROGBITS and section.name != ".eh_frame"
    return is_loose and is_plain and section.size >= 32


def _overwrites(draw: st.DrawFn, module: Module) -> tuple[Overwrite, ...]:
    chosen = []
    for section in module.sections:
        if _is_plain(section) and draw(st.booleans()):
            at = FileOffset(section.offset + draw(st.integers(0, section.size - 16)))
            old = module.data[at : at + 16]
            chosen.append(Overwrite(at, old, draw(st.binary(min_size=16, max_size=16))))
    return tuple(chosen)


def _new_relocations(
    draw: st.DrawFn, module: Module, sections: tuple[NewSection, ...], names: tuple[str, ...]
) -> tuple[NewRelocation, ...]:
    if not names:
        return ()
    homes: list[tuple[int | str, int]] = [
        (section.index, section.size) for section in module.sections if _is_plain(section)
    ]
    homes += [(s.name, s.length) for s in sections if s.type == elf.SHT_PROGBITS]
    fields = [(home, 8 * slot) for home, size in homes for slot in range(size // 8)]
    return tuple(
        NewRelocation(
            home,
            SectionOffset(offset),
            draw(st.sampled_from(_TYPES)),
            draw(st.sampled_from(names)),
            draw(st.integers(-16, 16)),
        )
        for home, offset in draw(st.lists(st.sampled_from(fields), unique=True, max_size=5))
    )
