"""Reads the tables of an ELF file, and trusts none of their numbers.

Every count is checked against the size of the file before anything is allocated, and tables
that overlap each other cannot multiply the work: the file pays for every entry with bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack_from
from typing import NoReturn

from kpatch.elf import constants as elf
from kpatch.elf.agreement import check_agreement
from kpatch.elf.entries import Header, Relocation, Section, Symbol
from kpatch.elf.layouts import IDENT_SIZE, Layout, layout_of
from kpatch.errors import DamagedFileError
from kpatch.units import FileOffset, SectionOffset, counted

_GET_IT_AGAIN = "get the file again"

# Names may share bytes (a suffix of another name), so their sum may exceed the string table;
# in real files by far less than this. Beyond it somebody wants memory, not names.
_NAME_BYTES_PER_FILE_BYTE = 16
NAME_BYTES_ALWAYS = 1 << 16


def read_header(data: bytes) -> tuple[Header, Layout]:
    """The ELF header. Raises DamagedFileError if there is none, or its tables do not fit."""
    if not data.startswith(elf.ELF_MAGIC):
        raise DamagedFileError(
            "this is not an ELF file", where="file offset 0x0", todo="give a kernel module (.ko)"
        )
    if len(data) < IDENT_SIZE:
        _damaged("the file ends inside the ELF header", "file offset 0x0")
    elf_class = {1: 32, 2: 64}.get(data[4])
    little_endian = {1: True, 2: False}.get(data[5])
    if elf_class is None or little_endian is None:
        _damaged(f"ELF class {data[4]} with byte order {data[5]} does not exist", "file offset 0x4")
    layout = layout_of(elf_class, little_endian)
    if len(data) < layout.header.size:
        _damaged("the file ends inside the ELF header", "file offset 0x0")
    (
        _,
        kind,
        machine,
        version,
        entry,
        phoff,
        shoff,
        flags,
        _,
        _,
        phnum,
        shentsize,
        shnum,
        shstrndx,
    ) = layout.header.unpack_from(data)
    count, names, extended = _section_numbering(data, layout, shoff, shentsize, shnum, shstrndx)
    header = Header(
        elf_class=elf_class,
        little_endian=little_endian,
        osabi=data[7],
        ident_version=data[6],
        type=kind,
        machine=machine,
        version=version,
        entry=entry,
        phoff=FileOffset(phoff),
        shoff=FileOffset(shoff),
        flags=flags,
        phnum=phnum,
        shentsize=shentsize,
        shnum=count,
        shstrndx=names,
        extended=extended,
    )
    return header, layout


def read_sections(
    data: bytes, header: Header, layout: Layout, names: NameReader
) -> tuple[Section, ...]:
    """All sections, index 0 too. Raises DamagedFileError for contents outside the file."""
    end = header.shoff + header.shnum * layout.section.size
    rows = list(layout.section.iter_unpack(data[header.shoff : end])) if header.shnum else []
    for index, (_, kind, _, _, offset, size, *_) in enumerate(rows):
        if offset + size > len(data) and size and kind not in (elf.SHT_NULL, elf.SHT_NOBITS):
            _damaged(
                f"section {index} needs bytes up to 0x{offset + size:x}, "
                f"the file has 0x{len(data):x}",
                f"file offset 0x{offset:x}",
            )
    if header.type == elf.ET_REL:
        check_agreement(rows, header, layout)
    strings = _string_range(rows, header.shstrndx) if header.shstrndx else None
    sections = []
    for index, (name, *fields) in enumerate(rows):
        text = "" if strings is None else names.at(strings, name, "section", index)
        sections.append(Section._make((index, text, *fields)))
    return tuple(sections)


def read_symbols(
    data: bytes, header: Header, layout: Layout, sections: Sequence[Section], names: NameReader
) -> tuple[Symbol, ...]:
    """The entries of the first SHT_SYMTAB, or none. Raises DamagedFileError."""
    table = next((s for s in sections if s.type == elf.SHT_SYMTAB), None)
    if table is None:
        return ()
    _check_unpacked(table.flags, "symbols", _at(table))
    _check_rows(table, layout.symbol.size)
    if table.link >= len(sections) or sections[table.link].type != elf.SHT_STRTAB:
        _damaged(
            f"its names are said to be in section {table.link}, not a string table", _at(table)
        )
    _check_unpacked(sections[table.link].flags, "symbols' names", _at(sections[table.link]))
    strings = (sections[table.link].offset, sections[table.link].end)
    far = _far_indices(data, header, sections, table)
    symbols = []
    rows = layout.symbol.iter_unpack(data[table.offset : table.end])
    for index, row in enumerate(rows):
        if header.elf_class == 64:
            name, info, other, section, value, size = row
        else:
            name, value, size, info, other, section = row
        if section == elf.SHN_XINDEX and index < len(far):
            section = far[index]
        if section >= len(sections) and not elf.SHN_LORESERVE <= section <= elf.SHN_XINDEX:
            _damaged(f"symbol {index} is in section {section}, which does not exist", _at(table))
        text = names.at(strings, name, "symbol", index) if name else ""
        symbols.append(Symbol(index, text, value, size, info >> 4, info & 15, other, section))
    return tuple(symbols)


def read_relocations(
    data: bytes, layout: Layout, sections: Sequence[Section], symbol_count: int
) -> tuple[Relocation, ...]:
    """The entries of every SHT_REL and SHT_RELA section. Raises DamagedFileError."""
    tables = [section for section in sections if section.is_relocation_table]
    relocations: list[Relocation] = []
    for table in tables:
        rows = layout.rela if table.type == elf.SHT_RELA else layout.rel
        _check_unpacked(table.flags, "relocations", _at(table))
        _check_rows(table, rows.size)
        if table.info >= len(sections):
            _damaged(f"it relocates section {table.info}, which does not exist", _at(table))
        for index, (offset, info, *addend) in enumerate(
            rows.iter_unpack(data[table.offset : table.end])
        ):
            symbol = info >> 32
            if symbol >= symbol_count and symbol:
                _damaged(f"entry {index} names symbol {symbol}, which does not exist", _at(table))
            relocations.append(
                Relocation(
                    table.index, index, table.info, SectionOffset(offset), info & 0xFFFFFFFF,
                    symbol, addend[0] if addend else 0,
                )
            )  # fmt: skip
    return tuple(relocations)


class NameReader:
    """Reads names out of string tables, each once, and no more than a file can really hold."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: dict[int, str] = {}
        self._budget = _NAME_BYTES_PER_FILE_BYTE * len(data) + NAME_BYTES_ALWAYS

    def at(self, strings: tuple[int, int], position: int, what: str, index: int) -> str:
        """The name at ``position`` in the table that covers the file offsets ``strings``.

        ``what`` and its index say in messages whose it is. Bytes outside ASCII come out escaped.
        Raises DamagedFileError if the name starts or ends outside the table.
        """
        start, end = strings[0] + position, strings[1]
        found = self._known.get(start)
        if found is not None and start + len(found) < end:
            return found
        stop = self._data.find(b"\0", start, end) if start < end else -1
        if stop < 0:
            _damaged(
                f"the name of {what} {index} does not end inside its table",
                f"file offset 0x{start:x}",
            )
        self._budget -= stop - start
        if self._budget < 0:
            _damaged(
                "the names overlap: they are many times larger than the file", f"{what} {index}"
            )
        name = self._data[start:stop].decode("ascii", "backslashreplace")
        self._known[start] = name
        return name


def _section_numbering(
    data: bytes, layout: Layout, shoff: int, shentsize: int, shnum: int, shstrndx: int
) -> tuple[int, int, bool]:
    """(sections, index of the names' section, whether section 0 had to tell).

    gABI, "Section Header": a count or an index that does not fit its 16 bits is 0 or
    SHN_XINDEX, and stands in sh_size and sh_link of section 0.
    """
    where = f"file offset 0x{shoff:x}"
    if shoff == 0:
        return 0, 0, False
    if shentsize != layout.section.size:
        _damaged(
            f"a section header is said to have {counted(shentsize, 'byte')}", "file offset 0x0"
        )
    if shoff + layout.section.size > len(data):
        _damaged("the section header table lies outside the file", where)
    first = layout.section.unpack_from(data, shoff)
    extended = shnum == 0 or shstrndx == elf.SHN_XINDEX
    count = first[5] if shnum == 0 else shnum
    names = first[6] if shstrndx == elf.SHN_XINDEX else shstrndx
    if shoff + count * layout.section.size > len(data):
        _damaged(f"the section header table (sections: {count}) goes beyond the file", where)
    if names and names >= count:
        _damaged(f"the section names are said to be in section {names} of {count}", where)
    return count, names, extended and count > 0


def _string_range(rows: Sequence[tuple[int, ...]], index: int) -> tuple[int, int]:
    _, kind, flags, _, offset, size, *_ = rows[index]
    if kind == elf.SHT_STRTAB:
        _check_unpacked(flags, "section names", f"file offset 0x{offset:x}")
    else:
        _damaged(
            f"section {index} should hold the section names, but is no string table",
            f"file offset 0x{offset:x}",
        )
    return offset, offset + size


def _far_indices(
    data: bytes, header: Header, sections: Sequence[Section], symtab: Section
) -> tuple[int, ...]:
    """Section indices of the symbols, from the SHT_SYMTAB_SHNDX section, if there is one."""
    for section in sections:
        if section.type == elf.SHT_SYMTAB_SHNDX and section.link == symtab.index:
            count = section.size // 4
            order = "<" if header.little_endian else ">"
            return unpack_from(f"{order}{count}I", data, section.offset)
    return ()


def _check_rows(table: Section, size: int) -> None:
    if table.entsize != size or table.size % size:
        left_out = table.entsize == 0 and table.size % size == 0
        raise DamagedFileError(
            f"a table of {counted(table.size, 'byte')} with entries of {table.entsize}, "
            f"not of {size}",
            where=_at(table),
            todo=f"{_GET_IT_AGAIN}, or set its sh_entsize to {size}" if left_out else _GET_IT_AGAIN,
        )


def _at(section: Section) -> str:
    return f"section {section.index} ({section.name}), file offset 0x{section.offset:x}"


def _check_unpacked(flags: int, what: str, where: str) -> None:
    """The gABI allows SHF_COMPRESSED here; ``eu-elfcompress -n '*'`` sets it, readers ignore it."""
    if flags & elf.SHF_COMPRESSED:
        todo = "run 'eu-elfcompress -f -t none -n \"*\"' on it"
        raise DamagedFileError(f"the {what} are compressed", where=where, todo=todo)


def _damaged(what: str, where: str) -> NoReturn:
    raise DamagedFileError(what, where=where, todo=_GET_IT_AGAIN)
