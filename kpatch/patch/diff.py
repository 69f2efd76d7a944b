"""The differences between two modules: tables by what they say, contents a function at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Section
from kpatch.patch.codediff import Hunk, Omitted, Side, hunks
from kpatch.patch.listing import Contents, target_name
from kpatch.patch.stretches import Switch, stretches, switch_of
from kpatch.signature.model import Signature

CONTEXT = 3
"""Equal lines around a change, as git and diff show them."""

_MOST_LINES = 1_000_000
"""Lines that one diff shows. Beyond it stretches are counted: memory has an end."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file: what it is called, bytes, hex SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TableChange:
    """Rows that only one side has. ``table`` is sections, symbols or relocations."""

    table: str
    columns: tuple[str, ...]
    removed: tuple[tuple[str, ...], ...]
    added: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ModuleDiff:
    """Everything that differs between ``before`` and ``after``.

    ``omitted`` is what differs and has too many lines to show.
    """

    before: FileFacts
    after: FileFacts
    tables: tuple[TableChange, ...]
    hunks: tuple[Hunk, ...]
    omitted: tuple[Omitted, ...]

    @property
    def is_empty(self) -> bool:
        """True where the files are the same, byte for byte."""
        return self.before.sha256 == self.after.sha256


def diff_modules(
    before: Module,
    after: Module,
    context: int = CONTEXT,
    signatures: Sequence[Signature] | None = None,
) -> ModuleDiff:
    """Compare two modules, with ``context`` equal lines around every change.

    ``signatures`` tell where the switch is, which is shown as instructions; without them those
    that come with kpatch do.
    Raises DamagedFileError where a note of kpatch does not read.
    """
    tables = (
        _table("header", _HEADER_COLUMNS, _header(before), _header(after)),
        _table("sections", _SECTION_COLUMNS, _sections(before), _sections(after)),
        _table("symbols", _SYMBOL_COLUMNS, _symbols(before), _symbols(after)),
        _table("relocations", _RELOCATION_COLUMNS, _relocations(before), _relocations(after)),
        _contents_table(_digests(before), _digests(after)),
    )
    switches = switch_of(before, signatures), switch_of(after, signatures)
    found: list[Hunk] = []
    omitted: list[Omitted] = []
    room = _MOST_LINES
    for one, other in _pairs(before, after):
        sides = (
            _side(before, one, switches[0] or switches[1]),
            _side(after, other, switches[1] or switches[0]),
        )
        for hunk in hunks(other.name if other else one.name if one else "", *sides, context, room):
            if isinstance(hunk, Hunk):
                found.append(hunk)
                room -= len(hunk.rows)
            else:
                omitted.append(hunk)
    return ModuleDiff(
        before=_facts(before),
        after=_facts(after),
        tables=tuple(table for table in tables if table.added or table.removed),
        hunks=tuple(found),
        omitted=tuple(omitted),
    )


def _side(module: Module, section: Section | None, switch: Switch | None) -> Side:
    if section is None:
        return Side(None)
    contents = Contents(module, section)
    is_code = section.is_code and module.header.is_amd64
    parts = switch.parts if switch and switch.section == section.index and not is_code else ()
    # The switch may be the other module's, whose section of this number is longer.
    parts = tuple(part for part in parts if part.end <= len(contents.data))
    return Side(contents, stretches(contents, is_code, parts))


def _facts(module: Module) -> FileFacts:
    return FileFacts(module.name, len(module.data), module.sha256)


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
        (section.name, f"{section.size:#x}", digest(module.contents(section)))
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


def _pairs(before: Module, after: Module) -> Iterator[tuple[Section | None, Section | None]]:
    """Sections of the same name, in order; those that only one side has come with None."""
    left: dict[str, list[Section]] = {}
    for section in _with_contents(before):
        left.setdefault(section.name, []).append(section)
    right: list[tuple[Section | None, Section]] = []
    for section in _with_contents(after):
        same = left.get(section.name)
        right.append((same.pop(0) if same else None, section))
    yield from right
    yield from ((section, None) for sections in left.values() for section in sections)


def _with_contents(module: Module) -> Iterator[Section]:
    return (section for section in module.sections if section.type == elf.SHT_PROGBITS)
