"""The differences between two modules: tables by what they say, contents by disassembly.

Where one side has a kpatch note, the changed code is shown exactly as far as the note says, so
that instructions on both sides start where they really start.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Section
from kpatch.isa.decode import MAX_LENGTH
from kpatch.patch.listing import Line, listing, target_name
from kpatch.patch.note import ReplacedBytes, read_note

_MOST_ROWS = 4096
"""Changed bytes shown of one section; a diff of unrelated files would have no end."""

_DIFFERENT = re.compile(rb"[^\0]+(?:\0{1,3}[^\0]+)*")
"""A stretch of different bytes; what is closer together than four bytes belongs together."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file: what it is called, bytes, hex SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """A changed or added stretch of one section, before and after."""

    title: str
    section: str
    before: tuple[Line, ...]
    after: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class TableChange:
    """Rows that only one side has. ``table`` is sections, symbols or relocations."""

    table: str
    columns: tuple[str, ...]
    removed: tuple[tuple[str, ...], ...]
    added: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ModuleDiff:
    """Everything that differs between ``before`` and ``after``."""

    before: FileFacts
    after: FileFacts
    tables: tuple[TableChange, ...]
    hunks: tuple[Hunk, ...]
    omitted: int

    @property
    def is_empty(self) -> bool:
        """True where the files are the same, byte for byte."""
        return self.before.sha256 == self.after.sha256


def diff_modules(before: Module, after: Module) -> ModuleDiff:
    """Compare two modules. Raises DamagedFileError where a note of kpatch does not read."""
    tables = (
        _table("sections", _SECTION_COLUMNS, _sections(before), _sections(after)),
        _table("symbols", _SYMBOL_COLUMNS, _symbols(before), _symbols(after)),
        _table("relocations", _RELOCATION_COLUMNS, _relocations(before), _relocations(after)),
    )
    hunks: list[Hunk] = []
    omitted = 0
    for one, other in _pairs(before, after):
        changed, left_out = _changed(before, one, after, other)
        hunks.extend(changed)
        omitted += left_out
    return ModuleDiff(
        before=_facts(before),
        after=_facts(after),
        tables=tuple(each for each in tables if each.added or each.removed),
        hunks=tuple(hunks),
        omitted=omitted,
    )


def _facts(module: Module) -> FileFacts:
    return FileFacts(module.name, len(module.data), digest(module.data))


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
_FLAGS = ((elf.SHF_WRITE, "W"), (elf.SHF_ALLOC, "A"), (elf.SHF_EXECINSTR, "X"))
_BINDINGS = {elf.STB_LOCAL: "LOCAL", elf.STB_GLOBAL: "GLOBAL", elf.STB_WEAK: "WEAK"}
_SYMBOL_TYPES = {
    elf.STT_NOTYPE: "NOTYPE",
    elf.STT_OBJECT: "OBJECT",
    elf.STT_FUNC: "FUNC",
    elf.STT_SECTION: "SECTION",
    elf.STT_FILE: "FILE",
}


def _sections(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            each.name,
            _SECTION_TYPES.get(each.type, hex(each.type)),
            "".join(letter for flag, letter in _FLAGS if each.flags & flag),
            str(each.align),
            f"{each.size:#x}",
        )
        for each in module.sections
        if each.type != elf.SHT_NULL
    ]


def _symbols(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            each.name,
            _BINDINGS.get(each.bind, str(each.bind)),
            _SYMBOL_TYPES.get(each.type, str(each.type)),
            _section_name(module, each.section),
            f"{each.value:#x}",
            str(each.size),
        )
        for each in module.symbols
        if each.name
    ]


def _section_name(module: Module, index: int) -> str:
    if index == elf.SHN_UNDEF:
        return "undefined"
    return module.sections[index].name if index < len(module.sections) else f"{index:#x}"


def _relocations(module: Module) -> list[tuple[str, ...]]:
    return [
        (
            module.sections[each.target].name,
            f"{each.offset:#x}",
            elf.relocation_name(each.type),
            target_name(module, each),
        )
        for each in module.relocations
    ]


def _table(
    name: str,
    columns: tuple[str, ...],
    before: Sequence[tuple[str, ...]],
    after: Sequence[tuple[str, ...]],
) -> TableChange:
    return TableChange(name, columns, _only(before, after), _only(after, before))


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
    return (each for each in module.sections if each.type == elf.SHT_PROGBITS)


def _changed(
    before: Module, one: Section | None, after: Module, other: Section | None
) -> tuple[list[Hunk], int]:
    if one is None or other is None:
        return _whole(before, one, after, other)
    old, new = before.contents(one), after.contents(other)
    if old == new:
        return [], 0
    hunks: list[Hunk] = []
    shown = omitted = 0
    for start, end, what in _ranges(before, one, after, other):
        if shown > _MOST_ROWS:
            omitted += 1
            continue
        if what:
            end = max(_finished(before, one, start, end), _finished(after, other, start, end))
        shown += end - start
        omitted += end - start > _MOST_ROWS
        title = f"{other.name}+{start:#x}" + (f", {what}" if what else "")
        hunks.append(
            Hunk(
                title,
                other.name,
                listing(before, one, start, min(end, len(old), start + _MOST_ROWS)),
                listing(after, other, start, min(end, len(new), start + _MOST_ROWS)),
            )
        )
    return hunks, omitted


def _finished(module: Module, section: Section, start: int, end: int) -> int:
    """``end``, or where the instruction ends that it would cut: a source fix loses one byte."""
    lines = listing(module, section, start, min(end + MAX_LENGTH, section.size))
    ends = (each.offset + len(each.raw) // 2 for each in lines)
    return next((each for each in ends if each >= end), end)


def _whole(
    before: Module, one: Section | None, after: Module, other: Section | None
) -> tuple[list[Hunk], int]:
    def lines(module: Module, section: Section | None) -> tuple[Line, ...]:
        if section is None or not section.is_code:
            return ()
        return listing(module, section, 0, min(section.size, _MOST_ROWS))

    section = one or other
    if section is None or not section.is_code:
        return [], 0
    word = "added" if one is None else "removed"
    title = f"{section.name}, {word}"
    return [Hunk(title, section.name, lines(before, one), lines(after, other))], 0


def _ranges(
    before: Module, one: Section, after: Module, other: Section
) -> Iterator[tuple[int, int, str]]:
    """Section ranges that differ, in order, with what the note says about them."""
    noted = {
        (each.offset - section.offset, each.offset - section.offset + len(each.before), each.what)
        for module, section in ((after, other), (before, one))
        for each in _noted(module)
        if section.offset <= each.offset < section.end
    }
    old, new = before.contents(one), after.contents(other)
    common, longest = min(len(old), len(new)), max(len(old), len(new))
    numbers = (int.from_bytes(each[:common], "little") for each in (old, new))
    differing = bytearray((next(numbers) ^ next(numbers)).to_bytes(common, "little"))
    differing += b"\1" * (longest - common)
    for start, end, _ in noted:
        end = min(end, longest)
        differing[start:end] = bytes(max(end - start, 0))
    found = ((each.start(), each.end(), "") for each in _DIFFERENT.finditer(differing))
    yield from merge(sorted(noted), found)


def _noted(module: Module) -> tuple[ReplacedBytes, ...]:
    note = read_note(module)
    return note.replaced if note else ()
