"""What may be changed in a module, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from kpatch.elf import constants as elf
from kpatch.units import FileOffset, SectionOffset

Pieces: TypeAlias = "Sequence[bytes | bytearray | memoryview]"
"""Bytes in a row: most of a changed file is the file, and so need not be copied."""

_PART: Final = 1 << 20


def begins_with(data: bytes, pieces: Pieces) -> bool:
    """Whether ``pieces`` in a row are the first bytes of ``data``, found without a large copy."""
    at = 0
    for piece in pieces:
        for start in range(0, len(piece), _PART):
            part = bytes(piece[start : start + _PART])
            if data[at : at + len(part)] != part:
                return False
            at += len(part)
    return True


def consists_of(data: bytes, pieces: Pieces) -> bool:
    """Whether they are all of ``data``."""
    return sum(map(len, pieces)) == len(data) and begins_with(data, pieces)


class Overwrite(NamedTuple):
    """Other bytes in the place of ``old``; ``new`` is as long."""

    offset: FileOffset
    old: bytes
    new: bytes

    @property
    def end(self) -> FileOffset:
        """The file offset behind the last byte."""
        return FileOffset(self.offset + len(self.old))


class NewSection(NamedTuple):
    """A section to add. ``size`` in bytes is given for SHT_NOBITS only, which has no contents."""

    name: str
    type: int
    flags: int
    align: int
    contents: bytes = b""
    size: int | None = None

    @property
    def length(self) -> int:
        """Bytes that it takes in memory."""
        return len(self.contents) if self.size is None else self.size


class NewSymbol(NamedTuple):
    """A global symbol to add: in the new section of that name, or undefined."""

    name: str
    section: str | None
    value: int = 0
    size: int = 0
    type: int = elf.STT_NOTYPE


class NewRelocation(NamedTuple):
    """A relocation to add, against a global symbol that exists or is added with it.

    ``section`` is the index of an existing section, or the name of a new one.
    """

    section: int | str
    offset: SectionOffset
    type: int
    symbol: str
    addend: int = 0
