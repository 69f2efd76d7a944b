"""What a reader sees in an ELF file, as plain rows, and how two such pictures differ.

A number that is None says nothing: the caller does not expect a certain one, or a reader does not
show it. Contents are those in the file: SHT_NULL and SHT_NOBITS sections have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

WITHOUT_BYTES: Final = (0, 8)
"""SHT_NULL, SHT_NOBITS (gABI, "Section Header"): nothing in the file."""


class SectionRow(NamedTuple):
    """A section header and what it is about (gABI, "Section Header"). Sizes in bytes."""

    name: str
    type: int | None
    flags: int
    address: int
    offset: int | None
    size: int
    link: int
    info: int
    align: int
    entsize: int
    contents: bytes | None


class SymbolRow(NamedTuple):
    """An entry of the symbol table; ``section`` is st_shndx."""

    name: str
    value: int
    size: int
    bind: int
    type: int
    visibility: int
    section: int


class RelocationRow(NamedTuple):
    """An entry of a relocation table. ``target`` is the section that ``offset`` counts in."""

    target: int
    offset: int
    type: int
    symbol: int
    addend: int


class NoteRow(NamedTuple):
    """One note of a SHT_NOTE section: the owner without its NUL, the description ``unpadded``."""

    owner: str
    type: int
    description: bytes


def unpadded(description: bytes) -> bytes:
    """A note's description without up to three zero bytes at its end, which may be padding."""
    return description[:-3] + description[-3:].rstrip(b"\0")


@dataclass(frozen=True)
class Picture:
    """A whole file. ``notes`` need not be all: those of ``note_sections`` are among them.

    ``outside`` has what a reader's sections and tables leave over: offset in the file, bytes.
    Expected there are the bytes of ``original``, and zeros behind its end, but none at the very end
    of the file; without an original it is not compared.
    """

    header: Mapping[str, int | None]
    sections: tuple[SectionRow, ...]
    symbols: tuple[SymbolRow, ...]
    relocations: tuple[RelocationRow, ...]
    notes: tuple[NoteRow, ...] = ()
    note_sections: frozenset[str] = frozenset()
    outside: tuple[tuple[int, bytes], ...] = ()
    original: bytes | None = None


def outside(
    data: bytes, header: Mapping[str, int | None], sections: tuple[SectionRow, ...]
) -> tuple[tuple[int, bytes], ...]:
    """What of a file lies neither in its header, nor in a section, nor in the section headers."""
    number = {name: value or 0 for name, value in header.items()}
    covered = [
        (0, number["ehsize"]),
        (number["shoff"], number["shentsize"] * number["shnum"]),
        *((s.offset or 0, s.size) for s in sections if s.type not in WITHOUT_BYTES),
        (len(data), 0),
    ]
    found, at = [], 0
    for start, size in sorted(covered):
        if start > at:
            found.append((at, data[at:start]))
        at = max(at, start + size)
    return tuple(found)


_MOST: Final = 8
"""Differences that are named; the rest are counted."""

_NO_ASCII: Final = re.compile(r"(\\x[89a-f][0-9a-f]|[^\x00-\x7f])+")

_SHOWN: Final = 40
"""Characters of a value that a message shows."""


def differences(expected: Picture, seen: Picture, *, ordered: bool = True) -> tuple[str, ...]:
    """What ``seen`` has otherwise than ``expected``, one line each, the first few only.

    ``ordered`` is False for a reader that sorts relocations or shows those that are alike in
    everything as one: then each must be there, and no other.
    """
    found = list(_differences(expected, seen, ordered))
    more = len(found) - _MOST
    return (*found[:_MOST], *((f"and {more} more",) if more > 0 else ()))


def _differences(expected: Picture, seen: Picture, ordered: bool) -> Iterator[str]:
    for name, value in expected.header.items():
        other = seen.header.get(name)
        if value is not None and other is not None and value != other:
            yield f"header: {name} is {other}, expected {value}"
    yield from _rows("section", expected.sections, seen.sections)
    yield from _rows("symbol", expected.symbols, seen.symbols)
    if ordered:
        yield from _rows("relocation", expected.relocations, seen.relocations)
    else:
        there, wanted = set(seen.relocations), set(expected.relocations)
        yield from (
            f"a relocation is missing: {_text(relocation)}" for relocation in sorted(wanted - there)
        )
        yield from (
            f"a relocation too many: {_text(relocation)}" for relocation in sorted(there - wanted)
        )
    for note in expected.notes:
        if note not in seen.notes:
            yield f"the note of {note.owner} is missing, or says something else"
    if expected.original is not None:
        yield from _left_over(expected.original, seen)


def _left_over(original: bytes, seen: Picture) -> Iterator[str]:
    number = {name: value or 0 for name, value in seen.header.items()}
    end = number["shoff"] + number["shentsize"] * number["shnum"]
    for at, found in seen.outside:
        if at >= end:  # the section headers come last
            yield f"{len(found)} bytes too many at the end of the file"
            continue
        wanted = original[at : at + len(found)].ljust(len(found), b"\0")
        if found != wanted:
            yield f"what is in no section, at {at:#x}: contents {_against(wanted, found)}"


def _rows(what: str, expected: tuple[Any, ...], seen: tuple[Any, ...]) -> Iterator[str]:
    if len(expected) != len(seen):
        yield f"there are {len(seen)} {what}s, expected {len(expected)}"
    for index, (wanted, other) in enumerate(zip(expected, seen, strict=False)):
        if wanted == other:
            continue
        label = getattr(wanted, "name", "")
        where = f"{what} {index} ({label})" if label else f"{what} {index}"
        for field, value, found in zip(wanted._fields, wanted, other, strict=True):
            if value is None or found is None or value == found:
                continue
            if field != "name" or _plain(value) != _plain(found):
                yield f"{where}: {field} {_against(value, found)}"


def _plain(name: str) -> str:
    """A name without what is no ASCII: each reader has a way of its own to show that."""
    return _NO_ASCII.sub("?", name)


def _against(value: object, found: object) -> str:
    if isinstance(value, bytes) and isinstance(found, bytes):
        at = next(
            (n for n, (a, b) in enumerate(zip(value, found, strict=False)) if a != b),
            min(len(value), len(found)),
        )
        return f"differ at byte {at:#x} ({len(found)} bytes, expected {len(value)})"
    return f"is {_short(found)}, expected {_short(value)}"


def _short(value: object) -> str:
    text = f"{value:#x}" if isinstance(value, int) and value > 9 else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text(row: RelocationRow) -> str:
    return (
        f"section {row.target} at {row.offset:#x}, type {row.type}, symbol {row.symbol}, "
        f"addend {row.addend}"
    )
