"""What another reader of a file must find in it: said by a plan before it is carried out, or by
kpatch's own reader of a file that exists.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from typing import Final

from kpatch.digest import digest_of
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Relocation, Section
from kpatch.patch.note import NO_DIGEST, OWNER, SECTION, TYPE
from kpatch.patch.pieces import note_section
from kpatch.patch.plan import Plan
from kpatch.witness.readers.picture import (
    NoteRow,
    Picture,
    RelocationRow,
    SectionParts,
    SectionRow,
    SymbolRow,
    with_contents,
)

_NOTE_HEADER: Final = 12 + len(OWNER) + -len(OWNER) % 4
_DESCRIPTION_SIZE: Final = slice(4, 8)
_EHSIZE: Final = slice(52, 54)  # gABI, Elf64_Ehdr
_PHENTSIZE: Final = slice(54, 56)
_RELA_SIZE: Final = 24
_SYMBOL_SIZE: Final = 24


def as_read(module: Module) -> Picture:
    """The file as kpatch's own reader sees it; a patched one's note is part of it."""
    picture = _tables(module)
    return replace(picture, sections=with_contents(picture.sections, _parts(module)))


def _tables(module: Module) -> Picture:
    """The same without the contents of sections."""
    header, ident = module.header, module.data[:16]
    named = module.section_named(SECTION)
    note = named if named and _is_one_note(module.contents(named)) else None
    return Picture(
        header={
            "class": header.elf_class // 32,
            "data": 1 if header.little_endian else 2,
            "ident version": ident[6],
            "osabi": header.osabi,
            "ABI version": ident[8],
            "padding": int.from_bytes(ident[9:], "little"),
            "type": header.type,
            "machine": header.machine,
            "version": header.version,
            "entry": header.entry,
            "phoff": header.phoff,
            "phnum": header.phnum,
            "flags": header.flags,
            "ehsize": int.from_bytes(module.data[_EHSIZE], "little"),
            "phentsize": int.from_bytes(module.data[_PHENTSIZE], "little"),
            "shentsize": header.shentsize,
            "shnum": header.shnum,
            "shstrndx": header.shstrndx,
            "shoff": header.shoff,
        },
        sections=tuple(_section(section) for section in module.sections),
        symbols=tuple(
            SymbolRow(s.name, s.value, s.size, s.bind, s.type, s.other & 3, s.section)
            for s in module.symbols
        ),
        relocations=tuple(_relocation(relocation) for relocation in module.relocations),
        notes=(_note(module.contents(note)),) if note else (),
        note_sections=frozenset((SECTION,)) if note else frozenset(),
    )


def after(plan: Plan, patched: bytes) -> Picture:
    """The file that the plan makes of its module, worked out from the plan and the original.

    ``patched`` gives one thing only: the note's digest of the file that it stands in. Where tables
    that grow, and new sections, lie in the file is not expected to be anywhere; what is in none of
    them is as it was, and nothing but zeros comes between what is new.
    """
    picture, parts = _tables(plan.module), _parts(plan.module)
    rows = list(picture.sections)
    for number, contents in parts.items():
        parts[number] = _overwritten(contents[0], plan.module.sections[number].offset, plan)
    names: dict[str, int] = {}
    note = _sealed(note_section(plan.note.pack()).contents, patched)
    for new in (*plan.sections, note_section(plan.note.pack())):
        names[new.name] = len(rows)
        if new.type != elf.SHT_NOBITS:
            parts[len(rows)] = (note if new.name == SECTION else new.contents,)
        rows.append(
            SectionRow(
                name=new.name,
                type=new.type,
                flags=new.flags,
                address=0,
                offset=len(plan.module.data) if new.type == elf.SHT_NOBITS else None,
                size=new.length,
                link=0,
                info=0,
                align=new.align,
                entsize=0,
            )
        )
    added = _new_symbols(plan, names)
    symbols = (*picture.symbols, *added)
    placed = _relocations(plan, rows, names, symbols)
    _grow(plan, rows, parts, added, placed)
    return replace(
        picture,
        header={**picture.header, "shnum": len(rows), "shoff": None},
        sections=with_contents(rows, parts),
        symbols=symbols,
        relocations=tuple(row for _, row in placed),
        notes=(_note(note),),
        note_sections=frozenset((SECTION,)),
        original=plan.module.data,
    )


def _parts(module: Module) -> SectionParts:
    view = memoryview(module.data)
    return {s.index: (view[s.offset : s.end],) for s in module.sections if s.has_bytes}


def _section(section: Section) -> SectionRow:
    return SectionRow(
        name=section.name,
        type=section.type,
        flags=section.flags,
        address=section.address,
        offset=section.offset,
        size=section.size,
        link=section.link,
        info=section.info,
        align=section.align,
        entsize=section.entsize,
    )


def _relocation(relocation: Relocation) -> RelocationRow:
    return RelocationRow(
        relocation.target,
        relocation.offset,
        relocation.type,
        relocation.symbol,
        relocation.addend,
    )


def _note(contents: bytes) -> NoteRow:
    size = int.from_bytes(contents[_DESCRIPTION_SIZE], "little")
    return NoteRow(OWNER.rstrip(b"\0").decode(), TYPE, contents[_NOTE_HEADER:][:size])


def _is_one_note(contents: bytes) -> bool:
    """Whether they are a note of kpatch and nothing else."""
    size = int.from_bytes(contents[_DESCRIPTION_SIZE], "little")
    head = struct.pack("<III", len(OWNER), size, TYPE) + OWNER
    return contents.startswith(head) and len(contents) == _NOTE_HEADER + size + -size % 4


def _sealed(blank: bytes, patched: bytes) -> bytes:
    """The note with the digest of ``patched``, taken with the digest's own digits as zeros."""
    zeros = NO_DIGEST.encode()
    before, _, behind = blank.partition(zeros)
    at = patched.rfind(before) + len(before)
    if at < len(before):
        return blank
    view = memoryview(patched)
    whole = digest_of((view[:at], zeros, view[at + len(zeros) :]))
    return before + whole.encode() + behind


def _overwritten(
    contents: bytes | memoryview, offset: int, plan: Plan
) -> tuple[bytes | memoryview, ...]:
    """A section's contents, at ``offset`` in the file, with the sites' new bytes."""
    found: list[bytes | memoryview] = []
    at = 0
    for overwrite in sorted(plan.overwrites, key=lambda overwrite: overwrite.offset):
        start = overwrite.offset - offset
        end = start + len(overwrite.new)
        if start >= at and end <= len(contents):
            found += (contents[at:start], overwrite.new)
            at = end
    return (*found, contents[at:])


def _new_symbols(plan: Plan, names: dict[str, int]) -> list[SymbolRow]:
    there = {s.name for s in plan.module.symbols if not s.is_local}
    return [
        SymbolRow(
            name=new.name,
            value=new.value,
            size=new.size,
            bind=elf.STB_GLOBAL,
            type=new.type,
            visibility=0,
            section=0 if new.section is None else names[new.section],
        )
        for new in plan.symbols
        if new.section is not None or new.name not in there
    ]


Placed = tuple[int, RelocationRow]
"""A relocation, and the section of the table that it is in."""


def _relocations(
    plan: Plan, rows: list[SectionRow], names: dict[str, int], symbols: tuple[SymbolRow, ...]
) -> list[Placed]:
    """Those of the original, and the plan's behind those of their table.

    A section that has no table gets one at the end of ``rows``.
    """
    found = [(relocation.table, _relocation(relocation)) for relocation in plan.module.relocations]
    # The first global of a name is the one that a relocation by name is against.
    numbers = {
        row.name: number
        for number, row in reversed(list(enumerate(symbols)))
        if row.name and row.bind != elf.STB_LOCAL
    }
    for new in plan.relocations:
        target = names[new.section] if isinstance(new.section, str) else new.section
        row = RelocationRow(target, new.offset, new.type, numbers[new.symbol], new.addend)
        found.append((_table_of(target, rows), row))
    return sorted(found, key=lambda placed: placed[0])


def _table_of(target: int, rows: list[SectionRow]) -> int:
    for number, row in enumerate(rows):
        if row.type == elf.SHT_RELA and row.info == target:
            return number
    rows.append(
        SectionRow(
            name=f".rela{rows[target].name}",
            type=elf.SHT_RELA,
            flags=elf.SHF_INFO_LINK,
            address=0,
            offset=None,
            size=0,
            link=next(n for n, row in enumerate(rows) if row.type == elf.SHT_SYMTAB),
            info=target,
            align=8,
            entsize=_RELA_SIZE,
        )
    )
    return len(rows) - 1


def _grow(
    plan: Plan,
    rows: list[SectionRow],
    parts: SectionParts,
    added: list[SymbolRow],
    placed: list[Placed],
) -> None:
    """Sizes of the tables that grow, which moves them, and the string tables' new contents.

    The entries of the others are compared one by one, so that their bytes need not be.
    """
    symtab = next(n for n, row in enumerate(rows) if row.type == elf.SHT_SYMTAB)
    if added:
        _resize(rows, parts, symtab, rows[symtab].size + _SYMBOL_SIZE * len(added))
    counts = Counter(table for table, _ in placed)
    before = Counter(relocation.table for relocation in plan.module.relocations)
    for table, count in counts.items():
        if count != before[table]:
            _resize(rows, parts, table, _RELA_SIZE * count)
    first, old = plan.module.header.shstrndx, len(plan.module.sections)
    given = old + len(plan.sections) + 1  # and the note; tables of relocations come last
    for number, names in (
        (first, [row.name for row in rows[old:given]]),
        (rows[symtab].link, [row.name for row in added]),
        (first, [row.name for row in rows[given:]]),
    ):
        if not names:
            continue
        contents = b"".join(parts.get(number, ()))
        if not contents.endswith(b"\0"):
            contents += b"\0"
        contents += b"".join(name.encode() + b"\0" for name in names)
        rows[number] = rows[number]._replace(offset=None, size=len(contents))
        parts[number] = (contents,)


def _resize(rows: list[SectionRow], parts: SectionParts, number: int, size: int) -> None:
    rows[number] = rows[number]._replace(offset=None, size=size)
    parts.pop(number, None)
