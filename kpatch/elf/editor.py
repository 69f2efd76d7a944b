"""Adds to a relocatable module without moving anything that is in it.

Every original byte stays at its offset, except what is overwritten on purpose and the two
fields of the ELF header that lead to the section headers. A table that grows (symbols, strings,
relocations, section headers) is copied behind the end of the file and grows there; its old bytes
stay behind, unused. Indices of existing sections and symbols never change. The same input gives
the same output: nothing depends on time, place or hash order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite, Pieces
from kpatch.elf.headers import SectionHeader, section_headers
from kpatch.elf.layouts import (
    AMD64,
    E_SHNUM,
    E_SHOFF,
    HEADER_SIZE,
    MOST_FILE_ALIGNMENT,
    TABLE_ALIGNMENT,
)
from kpatch.elf.module import Module, Section
from kpatch.errors import DamagedFileError, LinkerRefusalError


def appended(
    module: Module,
    *,
    overwrites: Sequence[Overwrite] = (),
    sections: Sequence[NewSection] = (),
    symbols: Sequence[NewSymbol] = (),
    relocations: Sequence[NewRelocation] = (),
) -> Pieces:
    """The module's file with all of this done to it, in pieces.

    All that is new behind the end of the module is the last piece. An undefined symbol that the
    file has already is not added again. Raises DamagedFileError if the bytes to overwrite are not
    there, and LinkerRefusalError if the file, or what is to be added to it, is beyond what the
    kernel linker takes.
    """
    whole = overwritten(module, overwrites)
    if not (sections or symbols or relocations):
        return whole
    _require_editable(module)
    growing = _Growing(module, whole)
    for section in sections:
        growing.add_section(section)
    for symbol in symbols:
        growing.add_symbol(symbol)
    for relocation in relocations:
        growing.add_relocation(relocation)
    return growing.finish()


def overwritten(module: Module, overwrites: Sequence[Overwrite]) -> Pieces:
    """The file with the overwrites done, its header first.

    Raises DamagedFileError if one does not fit.
    """
    view = memoryview(module.data)
    whole: list[bytes | memoryview] = [view[:HEADER_SIZE]]
    behind = HEADER_SIZE
    for edit in sorted(overwrites, key=lambda overwrite: overwrite.offset):
        where = f"file offset 0x{edit.offset:x}"
        if edit.offset < behind or len(edit.old) != len(edit.new):
            raise DamagedFileError(
                "an edit does not fit the file: it changes a length, or meets another edit or "
                "the ELF header",
                where=where,
                todo="get the file again",
            )
        if module.data[edit.offset : edit.end] != edit.old:
            found = module.data[edit.offset : edit.end].hex(" ") or "the end of the file"
            raise DamagedFileError(
                f"expected {edit.old.hex(' ')}, found {found}",
                where=where,
                todo="get the file again",
            )
        whole += (view[behind : edit.offset], edit.new)
        behind = edit.end
    return [*whole, view[behind:]]


def _between(pieces: Pieces, start: int, end: int) -> bytearray:
    """The bytes from ``start`` to ``end`` of all ``pieces`` in a row."""
    found, at = bytearray(), 0
    for piece in pieces:
        found += piece[max(start - at, 0) : max(end - at, 0)]
        at += len(piece)
    return found


class _Growing:
    """The file while it grows: its section headers, and the contents that go to its end."""

    def __init__(self, module: Module, whole: Pieces) -> None:
        self._module = module
        self._whole = whole
        self._tail = bytearray()  # what comes behind it
        self._rows = section_headers(module)
        self._at_end: dict[int, bytearray] = {}  # section index -> contents to be placed
        self._new_sections: dict[str, int] = {}
        self._globals = {s.name: s for s in reversed(module.symbols) if s.name and not s.is_local}
        self._symbol_indices = {name: symbol.index for name, symbol in self._globals.items()}
        self._new_symbols: set[str] = set()

    def add_section(self, section: NewSection) -> None:
        if section.name in self._new_sections or self._module.section_named(section.name):
            _refuse(f"the module has a section {section.name} already")
        if (section.type == elf.SHT_NOBITS) != (section.size is not None):
            _refuse(f"section {section.name} needs either contents or a size")
        self._new_sections[section.name] = self._add_row(
            section.name, section.type, section.flags, section.align, size=section.length
        )
        if section.type != elf.SHT_NOBITS:
            self._at_end[self._new_sections[section.name]] = bytearray(section.contents)

    def add_symbol(self, symbol: NewSymbol) -> None:
        if symbol.name in self._symbol_indices:
            if symbol.section is None and symbol.name not in self._new_symbols:
                return
            _refuse(f"the module has a symbol {symbol.name} already")
        if symbol.section is not None and symbol.section not in self._new_sections:
            _refuse(f"symbol {symbol.name} is in {symbol.section}, which is no new section")
        section = 0 if symbol.section is None else self._new_sections[symbol.section]
        symtab = _symtab(self._module)
        table = self._moved(symtab.index)
        self._symbol_indices[symbol.name] = len(table) // AMD64.symbol.size
        self._new_symbols.add(symbol.name)
        table += AMD64.symbol.pack(
            self._add_name(symtab.link, symbol.name),
            elf.STB_GLOBAL << 4 | symbol.type,
            0,
            section,
            symbol.value,
            symbol.size,
        )

    def add_relocation(self, new: NewRelocation) -> None:
        if isinstance(new.section, str):
            target = self._new_sections.get(new.section)
        else:
            target = new.section if 0 < new.section < len(self._module.sections) else None
        if target is None:
            _refuse(f"a relocation is for section {new.section}, which does not exist")
        symbol = self._symbol_indices.get(new.symbol)
        if symbol is None:
            _refuse(f"a relocation is against {new.symbol}, which is no global symbol")
        row = self._rows[target]
        if not 0 <= new.offset <= row.size - elf.field_width(new.type):
            _refuse(f"a relocation at 0x{new.offset:x} lies outside section {new.section}")
        table = self._moved(self._table_for(target))
        table += AMD64.rela.pack(new.offset, symbol << 32 | new.type, new.addend)

    def finish(self) -> Pieces:
        for index, contents in sorted(self._at_end.items()):
            row = self._rows[index]
            self._pad(min(max(row.align, 1), MOST_FILE_ALIGNMENT))
            self._rows[index] = row._replace(offset=self._end, size=len(contents))
            self._tail += contents
        self._pad(TABLE_ALIGNMENT)
        if len(self._rows) >= elf.SHN_LORESERVE:
            _refuse(f"the module would have {len(self._rows)} sections")
        header = bytearray(self._whole[0])
        header[E_SHOFF] = self._end.to_bytes(8, "little")
        header[E_SHNUM] = len(self._rows).to_bytes(2, "little")
        for row in self._rows:
            self._tail += AMD64.section.pack(*row)
        return [header, *self._whole[1:], self._tail]

    @property
    def _end(self) -> int:
        return len(self._module.data) + len(self._tail)

    def _add_row(
        self, name: str, kind: int, flags: int, align: int, *, size: int = 0, info: int = 0
    ) -> int:
        """Adds a section header and says its index."""
        relocates = kind == elf.SHT_RELA
        row = SectionHeader(
            name=self._add_name(self._module.header.shstrndx, name),
            type=kind,
            flags=flags,
            address=0,
            offset=len(self._module.data),
            size=size,
            link=_symtab(self._module).index if relocates else 0,
            info=info,
            align=align,
            entsize=AMD64.rela.size if relocates else 0,
        )
        self._rows.append(row)
        return len(self._rows) - 1

    def _table_for(self, target: int) -> int:
        """The index of the SHT_RELA section that relocates ``target``, added if there is none."""
        for index, row in enumerate(self._rows):
            if row.type == elf.SHT_RELA and row.info == target:
                return index
        name = next((n for n, index in self._new_sections.items() if index == target), None)
        name = self._module.sections[target].name if name is None else name
        index = self._add_row(
            f".rela{name}", elf.SHT_RELA, elf.SHF_INFO_LINK, TABLE_ALIGNMENT, info=target
        )
        self._at_end[index] = bytearray()
        return index

    def _moved(self, index: int) -> bytearray:
        """The contents of a section that go to the end of the file, copied on first use."""
        if index not in self._at_end:
            section = self._module.sections[index]
            self._at_end[index] = _between(self._whole, section.offset, section.end)
        return self._at_end[index]

    def _add_name(self, table_index: int, name: str) -> int:
        """Adds a string to a string table and says its position."""
        if not name or not name.isascii() or "\0" in name:
            _refuse(f"{name!r} cannot be a name")
        table = self._moved(table_index)
        if not table.endswith(b"\0"):
            table += b"\0"
        position = len(table)
        table += name.encode("ascii") + b"\0"
        return position

    def _pad(self, alignment: int) -> None:
        self._tail += bytes(-self._end % alignment)


def _require_editable(module: Module) -> None:
    header = module.header
    if not header.is_amd64 or header.type != elf.ET_REL:
        _refuse("this is not a relocatable x86-64 module")
    if header.extended or any(s.type == elf.SHT_SYMTAB_SHNDX for s in module.sections):
        _refuse("the module uses extended section numbers, which the kernel linker does not know")
    if not header.shstrndx:
        _refuse("the module's sections have no names")
    _symtab(module)


def _symtab(module: Module) -> Section:
    symtab = module.symtab
    if symtab is None:
        _refuse("the module has no symbol table")
    return symtab


def _refuse(what: str) -> NoReturn:
    raise LinkerRefusalError(what, todo="use the module as it was built")
