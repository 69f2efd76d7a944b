"""The differences between the tables of two modules, by what they say and not by where it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kpatch.digest import digest_of
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Section
from kpatch.patch.listing import target_name

_HEADER_COLUMNS = ("field", "value")
_HEADER_FIELDS = ("elf_class", "little_endian", "osabi", "type", "machine", "flags", "entry")
_DIGEST_COLUMNS = ("section", "size", "SHA-256")
_SECTION_COLUMNS = ("name", "type", "flags", "align", "size")
_SYMBOL_COLUMNS = ("name", "binding", "type", "section", "value", "size")
_RELOCATION_COLUMNS = ("section", "offset", "type", "target")

_SECTION_TYPES = {
    elf.SHT_PROGBITS: "PROGBITS",
    elf.SHT_NOBITS: "NOBITS",
    elf.SHT_NOTE: "NOTE",
    elf.SHT_RELA: "RELA",
    elf.SHT_REL: "REL",
    elf.SHT_SYMTAB: "SYMTAB",
    elf.SHT_STRTAB: "STRTAB",
    elf.SHT_NULL: "NULL",
}
_SHOWN_TYPES = (elf.SHT_PROGBITS, elf.SHT_SYMTAB, elf.SHT_STRTAB)
_FLAGS = ((elf.SHF_WRITE, "W"), (elf.SHF_ALLOC, "A"), (elf.SHF_EXECINSTR, "X"))
_BINDINGS = {elf.STB_LOCAL: "LOCAL", elf.STB_GLOBAL: "GLOBAL", elf.STB_WEAK: "WEAK"}
_SYMBOL_TYPES = {
    elf.STT_NOTYPE: "NOTYPE",
    elf.STT_OBJECT: "OBJECT",
    elf.STT_FUNC: "FUNC",
    elf.STT_SECTION: "SECTION",
    elf.STT_FILE: "FILE",
}


@dataclass(frozen=True, slots=True)
class TableChange:
    """Rows that only one side has. ``table`` is sections, symbols or relocations."""

    table: str
    columns: tuple[str, ...]
    removed: tuple[tuple[str, ...], ...]
    added: tuple[tuple[str, ...], ...]


def table_changes(before: Module, after: Module) -> tuple[TableChange, ...]:
    """The tables that are not the same: header, sections, symbols, relocations, other contents."""
    tables = (
        _table("header", _HEADER_COLUMNS, _header(before), _header(after)),
        _table("sections", _SECTION_COLUMNS, _sections(before), _sections(after)),
        _table("symbols", _SYMBOL_COLUMNS, _symbols(before), _symbols(after)),
        _table("relocations", _RELOCATION_COLUMNS, _relocations(before), _relocations(after)),
        _contents_table(_digests(before), _digests(after)),
    )
    return tuple(table for table in tables if table.added or table.removed)


def section_type(section: Section) -> str:
    """The gABI's name of the section's type, or its number."""
    return _SECTION_TYPES.get(section.type, hex(section.type))


def _header(module: Module) -> list[tuple[str, ...]]:
    """Fields of the ELF header that say what the file is; not those that say where things lie."""
    header = module.header
    return [(name, str(getattr(header, name))) for name in _HEADER_FIELDS]


def _digests(module: Module) -> list[tuple[str, ...]]:
    """Contents that no other part of the diff shows, such as notes."""
    return [
        (section.name, f"{section.size:#x}", digest_of((module.view(section),)))
        for section in module.sections
        if section.has_bytes
        and section.type not in _SHOWN_TYPES
        and not section.is_relocation_table
    ]


def _sections(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            section.name,
            section_type(section),
            "".join(letter for flag, letter in _FLAGS if section.flags & flag),
            str(section.align),
            f"{section.size:#x}",
        )
        for section in module.sections
        if section.type != elf.SHT_NULL
    ]


def _symbols(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            symbol.name,
            _BINDINGS.get(symbol.bind, str(symbol.bind)),
            _SYMBOL_TYPES.get(symbol.type, str(symbol.type)),
            _section_name(module, symbol.section),
            f"{symbol.value:#x}",
            str(symbol.size),
        )
        for symbol in module.symbols
        if symbol.name
    ]


def _section_name(module: Module, index: int) -> str:
    if index == elf.SHN_UNDEF:
        return "undefined"
    return module.sections[index].name if index < len(module.sections) else f"{index:#x}"


def _relocations(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            module.sections[relocation.target].name,
            f"{relocation.offset:#x}",
            elf.relocation_name(relocation.type),
            target_name(module, relocation),
        )
        for relocation in module.relocations
    ]


def _table(
    name: str,
    columns: tuple[str, ...],
    before: Sequence[tuple[str, ...]],
    after: Sequence[tuple[str, ...]],
) -> TableChange:
    return TableChange(name, columns, _only(before, after), _only(after, before))


def _contents_table(
    before: Sequence[tuple[str, ...]], after: Sequence[tuple[str, ...]]
) -> TableChange:
    """Sections of both files with other contents: the others stand among the sections."""
    found = _table("other contents", _DIGEST_COLUMNS, before, after)
    both = {row[:2] for row in before} & {row[:2] for row in after}
    removed, added = (
        tuple(row for row in rows if row[:2] in both) for rows in (found.removed, found.added)
    )
    return TableChange(found.table, found.columns, removed, added)


def _only(
    rows: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    there = Counter(others)
    only: list[tuple[str, ...]] = []
    for row in rows:
        if there[row]:
            there[row] -= 1
        else:
            only.append(row)
    return tuple(only)
