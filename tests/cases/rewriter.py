"""Lays a relocatable amd64 file out anew, with whatever change a test needs (gABI, chapter 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import pack_into

from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import read_module

LOCAL, GLOBAL, WEAK = 0, 1 << 4, 2 << 4
"""st_info of a symbol without a type."""


@dataclass
class Part:
    """A section: its header's fields and its bytes. ``size`` counts for NOBITS only."""

    name: str
    type: int = elf.SHT_PROGBITS
    flags: int = 0
    data: bytes = b""
    align: int = 1
    link: int = 0
    info: int = 0
    entsize: int = 0
    size: int = 0


class Rewriter:
    """The sections of a file, to be changed and written again."""

    def __init__(self, data: bytes) -> None:
        module = read_module(data)
        self.header = bytearray(data[: AMD64.header.size])
        self.names = module.header.shstrndx
        self.parts = [
            Part(s.name, s.type, s.flags, module.contents(s), s.align, s.link, s.info, s.entsize,
                 s.size)
            for s in module.sections
        ]  # fmt: skip

    def number(self, name: str) -> int:
        """The number of the first section of that name."""
        return next(n for n, part in enumerate(self.parts) if part.name == name)

    def __getitem__(self, name: str) -> Part:
        return self.parts[self.number(name)]

    def add(self, part: Part) -> int:
        """Append a section, and return its number."""
        self.parts.append(part)
        return len(self.parts) - 1

    def add_symbol(
        self, name: str, info: int, section: int, value: int = 0, size: int = 0, other: int = 0
    ) -> None:
        """Append a symbol to the symbol table, and its name to the string table."""
        table = self[".symtab"]
        strings = self.parts[table.link]
        at = len(strings.data)
        strings.data += name.encode() + b"\0"
        table.data += AMD64.symbol.pack(at, info, other, section, value, size)

    def relocations(self, name: str) -> list[tuple[int, int, int]]:
        """Offset, type and symbol as one number, addend of each entry of a table."""
        return list(AMD64.rela.iter_unpack(self[name].data))

    def build(
        self,
        *,
        order: Sequence[int] | None = None,
        headers_first: bool = False,
        one_string_table: bool = False,
        behind: bytes = b"",
    ) -> bytes:
        """The file, its contents in ``order`` of section numbers."""
        parts = [replace(part) for part in self.parts]
        names = parts[self.names]
        if one_string_table:
            names = parts[self[".symtab"].link]
        text = bytearray(names.data if one_string_table else b"\0")
        starts: dict[str, int] = {"": 0}
        for part in parts:
            if part.name not in starts:
                starts[part.name] = len(text)
                text += part.name.encode() + b"\0"
        names.data = bytes(text)
        table = len(parts) * AMD64.section.size
        out = bytearray(AMD64.header.size + table * headers_first)
        offsets = [0] * len(parts)
        for number in order or range(1, len(parts)):
            part = parts[number]
            out += bytes(-len(out) % max(1, part.align))
            offsets[number] = len(out)
            out += part.data
        out += bytes(-len(out) % 8)
        shoff = AMD64.header.size if headers_first else len(out)
        out += bytes(table * (not headers_first))
        for number, part in enumerate(parts):
            size = len(part.data) or (part.size if part.type == elf.SHT_NOBITS else 0)
            row = (
                starts[part.name], part.type, part.flags, 0, offsets[number], size, part.link,
                part.info, part.align, part.entsize,
            )  # fmt: skip
            AMD64.section.pack_into(out, shoff + number * AMD64.section.size, *row)
        out[: AMD64.header.size] = self.header
        pack_into("<Q", out, 40, shoff)
        small = len(parts) < elf.SHN_LORESERVE
        pack_into("<HH", out, 60, len(parts) if small else 0, parts.index(names))
        if not small:
            pack_into("<Q", out, shoff + 32, len(parts))
        return bytes(out) + behind
