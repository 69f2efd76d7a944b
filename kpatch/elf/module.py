"""An ELF file as one frozen value: its bytes, and what its tables say about them."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import Final

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf import quick, tables
from kpatch.elf.entries import Header, Relocation, Section, Symbol
from kpatch.elf.layouts import Layout, layout_of
from kpatch.errors import DamagedFileError
from kpatch.units import FileOffset, SectionOffset, counted

__all__ = ["Header", "Module", "Relocation", "Section", "Symbol", "read_module"]


def read_module(data: bytes, name: str = "") -> Module:
    """Read an ELF file of any class, byte order and machine.

    ``name`` is what messages call the file. Relocations are read for relocatable x86-64 files
    only. Raises DamagedFileError if it is not ELF, or its tables contradict its size or each
    other; nothing else, whatever the bytes are.
    """
    try:
        header, layout = tables.read_header(data)
        names = tables.NameReader(data)
        sections = tables.read_sections(data, header, layout, names)
        module = Module(data, name, header, sections)
        # Most files in a folder are other modules, of which nobody asks for an entry.
        if not quick.is_sound(data, header, layout, sections):
            module.require_tables()
    except DamagedFileError as error:
        raise (error.within(name) if name else error) from None
    return module


class Module:
    """A file that was read; it does not change. Equal when file and name are."""

    def __init__(
        self,
        data: bytes,
        name: str,
        header: Header,
        sections: tuple[Section, ...],
    ) -> None:
        self.data: Final = data
        self.name: Final = name
        self.header: Final = header
        self.sections: Final = sections

    def __repr__(self) -> str:
        return f"Module({self.name!r}, {counted(len(self.data), 'byte')})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Module):
            return NotImplemented
        return self.data == other.data and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.data, self.name))

    def called(self, name: str) -> Module:
        """The same file, for messages by another name."""
        return Module(self.data, name, self.header, self.sections)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The entries of the symbol table; none where there is no table."""
        names = tables.NameReader(self.data)
        return tables.read_symbols(self.data, self.header, self._layout, self.sections, names)

    @cached_property
    def relocations(self) -> tuple[Relocation, ...]:
        """The entries of all relocation tables of a relocatable x86-64 file; of others none."""
        if not self.header.is_amd64 or self.header.type != elf.ET_REL:
            return ()
        return tables.read_relocations(self.data, self._layout, self.sections, len(self.symbols))

    def require_tables(self) -> None:
        """Read the symbols and relocations now. Raises DamagedFileError."""
        _ = self.symbols, self.relocations

    @property
    def _layout(self) -> Layout:
        return layout_of(self.header.elf_class, self.header.little_endian)

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256 in hex."""
        return digest(self.data)

    @property
    def symtab(self) -> Section | None:
        """The section that ``symbols`` come from."""
        return next((s for s in self.sections if s.type == elf.SHT_SYMTAB), None)

    def section_named(self, name: str) -> Section | None:
        """The first section of that name."""
        return next(iter(self.sections_named(name)), None)

    def sections_named(self, name: str) -> tuple[Section, ...]:
        """All sections of that name, in the order of the file."""
        return tuple(section for section in self.sections if section.name == name)

    def contents(self, section: Section) -> bytes:
        """The section's bytes in the file; ``b""`` for SHT_NOBITS."""
        return self.data[section.offset : section.end]

    def view(self, section: Section) -> memoryview:
        """The same without a copy, for what may be most of a large file."""
        return memoryview(self.data)[section.offset : section.end]

    def file_offset(self, section: Section, offset: SectionOffset) -> FileOffset:
        """Where a byte of a section lies in the file."""
        return FileOffset(section.offset + offset)

    def symbol_named(self, name: str) -> Symbol | None:
        """The symbol of that name: a global or weak one before a local one."""
        return self._by_name.get(name)

    def defined(self, name: str) -> Symbol | None:
        """The same, but only among the symbols that this file defines."""
        return self._defined_by_name.get(name)

    @cached_property
    def first_defined(self) -> dict[str, Symbol]:
        """Of each name the first symbol in the table that is defined, local or not."""
        found: dict[str, Symbol] = {}
        for symbol in self.symbols:
            if symbol.name and not symbol.is_undefined:
                found.setdefault(symbol.name, symbol)
        return found

    @cached_property
    def undefined(self) -> frozenset[str]:
        """Names of the symbols that the file wants from elsewhere."""
        return frozenset(s.name for s in self.symbols if s.is_undefined and s.name)

    def relocations_of(self, section_index: int) -> tuple[Relocation, ...]:
        """The relocations of one section, by offset."""
        return self._by_target.get(section_index, ())

    def relocations_at(self, section_index: int, start: int, end: int) -> tuple[Relocation, ...]:
        """The relocations that write at least one byte of ``[start, end)`` of the section."""
        if end <= start:
            return ()
        candidates = self.relocations_of(section_index)
        first = bisect_left(candidates, start - elf.WIDEST_FIELD + 1, key=lambda r: r.offset)
        last = bisect_left(candidates, end, key=lambda r: r.offset)
        return tuple(r for r in candidates[first:last] if r.width and r.end > start)

    @cached_property
    def _by_target(self) -> dict[int, tuple[Relocation, ...]]:
        grouped: dict[int, list[Relocation]] = {}
        for relocation in self.relocations:
            grouped.setdefault(relocation.target, []).append(relocation)
        return {
            target: tuple(sorted(group, key=lambda r: (r.offset, r.table, r.index)))
            for target, group in grouped.items()
        }

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        return _first_of_each_name(self.symbols)

    @cached_property
    def _defined_by_name(self) -> dict[str, Symbol]:
        return _first_of_each_name(tuple(s for s in self.symbols if not s.is_undefined))


def _first_of_each_name(symbols: tuple[Symbol, ...]) -> dict[str, Symbol]:
    found: dict[str, Symbol] = {}
    for symbol in sorted(symbols, key=lambda s: s.is_local):
        if symbol.name:
            found.setdefault(symbol.name, symbol)
    return found
