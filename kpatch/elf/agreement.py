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


def check_agreement(rows: Sequence[tuple[int, ...]], header: Header, layout: Layout) -> None:
    """Raises DamagedFileError where ``rows``, the section headers as they stand, do not agree."""
    if rows and rows[0][1] != elf.SHT_NULL:  # gABI, "Special Section Indexes": no section
        raise _damaged(f"section 0, which is none, has type {rows[0][1]}", header.shoff)
    _check_apart(rows, header, layout)
    _check_links(rows)


def _check_apart(rows: Sequence[tuple[int, ...]], header: Header, layout: Layout) -> None:
    """gABI, "Sections": no byte of the file is in two sections, or in a section and a header."""
    taken = [
        (offset, offset + size, f"section {index}")
        for index, (_, kind, _, _, offset, size, *_) in enumerate(rows)
        if kind not in (elf.SHT_NULL, elf.SHT_NOBITS) and size > 0
    ]
    taken.append((0, layout.header.size, "the ELF header"))
    if rows:
        headers_end = header.shoff + len(rows) * layout.section.size
        taken.append((header.shoff, headers_end, "the section headers"))
    taken.sort()
    # In this order any overlap shows between two neighbours.
    for (_, end, one), (start, _, other) in pairwise(taken):
        if start < end:
            raise _damaged(f"{one} and {other} overlap", start)


def _check_links(rows: Sequence[tuple[int, ...]]) -> None:
    """gABI, "sh_link": a relocation table names its symbol table, which other readers go by."""
    symbols = {index for index, row in enumerate(rows) if row[1] == elf.SHT_SYMTAB}
    for index, (_, kind, _, _, offset, size, link, *_) in enumerate(rows):
        if kind in _RELOCATION_TABLES and size and symbols and link not in symbols:
            raise _damaged(f"section {index} has its symbols in {link}, no symbol table", offset)


def _damaged(what: str, offset: int) -> DamagedFileError:
    return DamagedFileError(what, where=f"file offset 0x{offset:x}", todo="get the file again")
