"""What a reader sees in an ELF file, as plain rows, and how two such pictures differ.

A number that is None says nothing: the caller does not expect a certain one, or a reader does not
show it. Contents are those in the file: SHT_NULL and SHT_NOBITS sections have none. They are known
by their digests, page by page, because a copy of them is as large as the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kpatch.digest import digest_of
from kpatch.units import PAGE, counted

WITHOUT_BYTES: Final = (0, 8)
"""SHT_NULL, SHT_NOBITS (gABI, "Section Header"): nothing in the file."""


class PageDigests(NamedTuple):
    """Bytes: how many, and the SHA-256 of each PAGE of them, which tells where they differ."""

    size: int
    pages: tuple[str, ...]


def page_digests(pieces: Iterable[bytes | memoryview]) -> PageDigests:
    """All ``pieces`` in a row."""
    size, pages = 0, []
    page: list[memoryview] = []
    room = PAGE
    for piece in pieces:
        rest = memoryview(piece)
        size += len(rest)
        while rest:
            page.append(rest[:room])
            rest, room = rest[room:], room - len(page[-1])
            if not room:
                pages.append(digest_of(page))
                page, room = [], PAGE
    if page:
        pages.append(digest_of(page))
    return PageDigests(size, tuple(pages))


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
    contents: PageDigests | None = None


SectionParts = dict[int, tuple[bytes | memoryview, ...]]
"""By the number of a section, its contents in a row: none of them a copy of many bytes."""


def with_contents(rows: Iterable[SectionRow], parts: SectionParts) -> tuple[SectionRow, ...]:
    """The rows, with the digests of the ``parts`` that are given for them."""
    return tuple(
        row._replace(contents=page_digests(parts[number])) if number in parts else row
        for number, row in enumerate(rows)
    )


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

    ``outside`` has what a reader's sections and tables leave over: where it starts in the file, and
    where it ends. Expected there are the bytes of ``original``, and zeros behind its end, but none
    at the very end of the file; without an original it is not compared.
    """

    header: Mapping[str, int | None]
    sections: tuple[SectionRow, ...]
    symbols: tuple[SymbolRow, ...]
    relocations: tuple[RelocationRow, ...]
    notes: tuple[NoteRow, ...] = ()
    note_sections: frozenset[str] = frozenset()
    outside: tuple[tuple[int, int], ...] = ()
    original: bytes | None = None


def outside(
    size: int, header: Mapping[str, int | None], sections: tuple[SectionRow, ...]
) -> tuple[tuple[int, int], ...]:
    """What of a file lies neither in its header, nor in a section, nor in the section headers."""
    number = {name: value or 0 for name, value in header.items()}
    covered = [
        (0, number["ehsize"]),
        (number["shoff"], number["shentsize"] * number["shnum"]),
        *((s.offset or 0, s.size) for s in sections if s.type not in WITHOUT_BYTES),
        (size, 0),
    ]
    found, at = [], 0
    for start, length in sorted(covered):
        if min(start, size) > at:
            found.append((at, min(start, size)))
        at = max(at, start + length)
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
    return _first_of(list(_differences(expected, seen, ordered)))


def left_over(data: bytes, original: bytes, seen: Picture) -> tuple[str, ...]:
    """The same of what ``seen``, the picture of ``data``, has outside of everything."""
    return _first_of(list(_left_over(data, original, seen)))


def _first_of(found: list[str]) -> tuple[str, ...]:
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


def _left_over(data: bytes, original: bytes, seen: Picture) -> Iterator[str]:
    number = {name: value or 0 for name, value in seen.header.items()}
    end = number["shoff"] + number["shentsize"] * number["shnum"]
    for first, behind in seen.outside:
        if first >= end:  # the section headers come last
            yield f"{counted(behind - first, 'byte')} too many at the end of the file"
            continue
        for at in range(first, behind, PAGE):
            found = data[at : min(at + PAGE, behind)]
            if found != original[at : at + len(found)].ljust(len(found), b"\0"):
                where = _in_page(at - first)
                yield f"what is in no section, at {first:#x}: contents differ {where}"
                break


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
    if isinstance(value, PageDigests) and isinstance(found, PageDigests):
        pages = zip(value.pages, found.pages, strict=False)
        at = next((n for n, (a, b) in enumerate(pages) if a != b), len(found.pages))
        return (
            f"differ {_in_page(PAGE * at)} ({counted(found.size, 'byte')}, expected {value.size})"
        )
    return f"is {_short(found)}, expected {_short(value)}"


def _in_page(at: int) -> str:
    return f"in the {PAGE} bytes at {at:#x}"


def _short(value: object) -> str:
    text = f"{value:#x}" if isinstance(value, int) and value > 9 else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text(row: RelocationRow) -> str:
    return (
        f"section {row.target} at {row.offset:#x}, type {row.type}, symbol {row.symbol}, "
        f"addend {row.addend}"
    )
