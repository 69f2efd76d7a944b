"""Whether the section headers of a relocatable file agree with each other.

The kernel loads a file whose headers do not, and reads it in its own way; other readers read it
in theirs. Such a file is damaged: what a section holds is not what one of them says it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kpatch.elf import constants as elf
from kpatch.elf.entries import Header
from kpatch.elf.layouts import Layout
from kpatch.errors import DamagedFileError

_RELOCATION_TABLES = (elf.SHT_REL, elf.SHT_RELA)
_WITHOUT_BYTES = (elf.SHT_NULL, elf.SHT_NOBITS)
_TYPE, _OFFSET, _SIZE, _LINK = 1, 4, 5, 6
"""Where these stand in a row. To take a whole row apart costs more than what is done with it."""

_ELF_HEADER, _SECTION_HEADERS = -1, -2
"""What else takes bytes, told apart from the index of a section."""


def check_agreement(rows: Sequence[tuple[int, ...]], header: Header, layout: Layout) -> None:
    """Raises DamagedFileError where ``rows``, the section headers as they stand, do not agree."""
    if rows and rows[0][1] != elf.SHT_NULL:  # gABI, "Special Section Indexes": no section
        raise _damaged(f"section 0, which is none, has type {rows[0][1]}", header.shoff)
    _check_apart(rows, header, layout)
    _check_links(rows)


def _check_apart(rows: Sequence[tuple[int, ...]], header: Header, layout: Layout) -> None:
    """gABI, "Sections": no byte of the file is in two sections, or in a section and a header."""
    taken = [
        (row[_OFFSET], row[_OFFSET] + row[_SIZE], index)
        for index, row in enumerate(rows)
        if row[_SIZE] and row[_TYPE] not in _WITHOUT_BYTES
    ]
    taken.append((0, layout.header.size, _ELF_HEADER))
    if rows:
        headers_end = header.shoff + len(rows) * layout.section.size
        taken.append((header.shoff, headers_end, _SECTION_HEADERS))
    taken.sort()
    # In this order any overlap shows between two neighbours.
    for (_, end, one), (start, _, other) in pairwise(taken):
        if start < end:
            raise _damaged(f"{_named(one)} and {_named(other)} overlap", start)


def _named(index: int) -> str:
    return {_ELF_HEADER: "the ELF header", _SECTION_HEADERS: "the section headers"}.get(
        index, f"section {index}"
    )


def _check_links(rows: Sequence[tuple[int, ...]]) -> None:
    """gABI, "sh_link": a relocation table names its symbol table, which other readers go by."""
    symbols = {index for index, row in enumerate(rows) if row[_TYPE] == elf.SHT_SYMTAB}
    if not symbols:
        return
    for index, row in enumerate(rows):
        if row[_TYPE] in _RELOCATION_TABLES and row[_SIZE] and row[_LINK] not in symbols:
            said = f"section {index} has its symbols in {row[_LINK]}, no symbol table"
            raise _damaged(said, row[_OFFSET])


def _damaged(what: str, offset: int) -> DamagedFileError:
    return DamagedFileError(what, where=f"file offset 0x{offset:x}", todo="get the file again")
