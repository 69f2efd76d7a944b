"""Takes sections, symbols and relocations out of a relocatable module, and lays it out anew.

Section numbers stay as they are: what is taken out leaves an empty header (SHT_NULL) behind, so
that two modules can be compared, and run, section by section. :func:`dense` closes the gaps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.editor import overwritten
from kpatch.elf.edits import Overwrite
from kpatch.elf.headers import SectionHeader, section_headers
from kpatch.elf.layouts import AMD64, E_SHNUM, E_SHOFF, MOST_FILE_ALIGNMENT, TABLE_ALIGNMENT
from kpatch.elf.module import Module, read_module
from kpatch.errors import LinkerRefusalError

_E_SHSTRNDX = slice(62, 64)
_NULL_ROW = SectionHeader(0, elf.SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0)
_SHT_GROUP = 17
_SHT_LLVM_ADDRSIG = 0x6FFF4C03
"""Clang's table of symbol numbers, for linkers only. One whose sh_link is 0 is out of date, and
they ignore it (lld, InputFiles.cpp): `ld -r` and the strip programs leave it like that."""


class _Part(NamedTuple):
    """A section header and the section's contents."""

    row: SectionHeader
    contents: bytes


class Removal(NamedTuple):
    """What to take out: section numbers, symbol numbers, relocations as (table, index)."""

    sections: frozenset[int]
    symbols: frozenset[int]
    relocations: frozenset[tuple[int, int]]


def without(module: Module, removal: Removal, overwrites: Sequence[Overwrite] = ()) -> bytes:
    """The module's file without all of that, and with the overwrites done.

    Every section keeps its number. Raises LinkerRefusalError where something that stays needs
    what goes, or for tables that the kernel linker does not know, and DamagedFileError where an
    overwrite does not fit.
    """
    symtab = module.symtab
    if symtab is None or module.header.extended or _extended_numbers(module, removal):
        raise LinkerRefusalError(
            "its symbols cannot be renumbered", where=module.name, todo="use its kept copy"
        )
    image = b"".join(overwritten(module, overwrites))
    numbers = _numbers(module, removal)
    parts = []
    for section, row in zip(module.sections, section_headers(module), strict=True):
        contents = image[section.offset : section.end]
        if section.index in removal.sections:
            parts.append(_Part(_NULL_ROW, b""))
            continue
        if section.index == symtab.index:
            contents = _kept_symbols(contents, numbers)
            locals_left = sum(module.symbols[number].is_local for number in numbers)
            row = row._replace(info=locals_left)
        elif section.is_relocation_table:
            contents = _kept_relocations(module, section.index, contents, removal, numbers)
        elif section.type == _SHT_GROUP:
            row = row._replace(info=numbers.get(row.info, 0))
        elif section.type == _SHT_LLVM_ADDRSIG:
            row = row._replace(link=0)
        parts.append(_Part(row, contents))
    return _written(image, parts, module.header.shstrndx)


def dense(data: bytes) -> bytes:
    """The file without its empty section headers; the sections behind them move up."""
    module = read_module(data)
    kept = [s.index for s in module.sections if s.index == 0 or s.type != elf.SHT_NULL]
    new = {old: number for number, old in enumerate(kept)}
    parts = []
    rows = section_headers(module)
    for index in kept:
        section, row = module.sections[index], rows[index]
        contents = module.contents(section)
        row = row._replace(link=new.get(row.link, 0))
        if section.is_relocation_table or section.flags & elf.SHF_INFO_LINK:
            row = row._replace(info=new.get(row.info, 0))
        if section.type == elf.SHT_SYMTAB:
            contents = b"".join(
                AMD64.symbol.pack(name, info, other, new.get(at, at), value, size)
                for name, info, other, at, value, size in AMD64.symbol.iter_unpack(contents)
            )
        elif section.type == _SHT_GROUP:
            words = [contents[at : at + 4] for at in range(0, len(contents), 4)]
            contents = b"".join(words[:1]) + b"".join(
                new.get(int.from_bytes(word, "little"), 0).to_bytes(4, "little")
                for word in words[1:]
            )
        parts.append(_Part(row, contents))
    return _written(data, parts, new[module.header.shstrndx])


def _extended_numbers(module: Module, removal: Removal) -> bool:
    """Whether a table that stays holds section numbers by symbol number."""
    return any(
        s.type == elf.SHT_SYMTAB_SHNDX and s.index not in removal.sections for s in module.sections
    )


def _numbers(module: Module, removal: Removal) -> dict[int, int]:
    """Old symbol number to new. Raises LinkerRefusalError if a relocation that stays needs one."""
    kept = [s.index for s in module.symbols if s.index not in removal.symbols]
    numbers = {old: new for new, old in enumerate(kept)}
    for relocation in module.relocations:
        goes = (
            relocation.table in removal.sections
            or (relocation.table, relocation.index) in removal.relocations
        )
        if not goes and relocation.symbol not in numbers:
            raise LinkerRefusalError(
                f"something else uses {module.symbols[relocation.symbol].name}"
                if relocation.symbol < len(module.symbols)
                else "a relocation is against no symbol",
                where=f"{module.name}, {module.sections[relocation.table].name}",
                todo="use its kept copy",
            )
    return numbers


def _kept_symbols(contents: bytes, numbers: Collection[int]) -> bytes:
    size = AMD64.symbol.size
    return b"".join(contents[old * size : (old + 1) * size] for old in sorted(numbers))


def _kept_relocations(
    module: Module, table: int, contents: bytes, removal: Removal, numbers: Mapping[int, int]
) -> bytes:
    layout = AMD64.rela if module.sections[table].type == elf.SHT_RELA else AMD64.rel
    kept = []
    for index, (offset, info, *addend) in enumerate(layout.iter_unpack(contents)):
        if (table, index) not in removal.relocations:
            info = numbers.get(info >> 32, 0) << 32 | info & 0xFFFFFFFF
            kept.append(layout.pack(offset, info, *addend))
    return b"".join(kept)


def _written(image: bytes, parts: Sequence[_Part], names: int) -> bytes:
    """Header, contents in the order of the old file, section headers."""
    out = bytearray(image[: AMD64.header.size])
    rows = [part.row for part in parts]
    for index, (row, contents) in sorted(enumerate(parts), key=lambda part: part[1].row.offset):
        if row.type == elf.SHT_NULL:
            continue
        # An alignment that is no power of two, or beyond a page, is the linker rules' business.
        out += bytes(-len(out) % min(max(row.align, 1), MOST_FILE_ALIGNMENT))
        rows[index] = row._replace(offset=len(out))
        if row.type != elf.SHT_NOBITS:
            rows[index] = rows[index]._replace(size=len(contents))
            out += contents
    out += bytes(-len(out) % TABLE_ALIGNMENT)
    out[E_SHOFF] = len(out).to_bytes(8, "little")
    out[E_SHNUM] = len(rows).to_bytes(2, "little")
    out[_E_SHSTRNDX] = names.to_bytes(2, "little")
    for row in rows:
        out += AMD64.section.pack(*row)
    return bytes(out)
