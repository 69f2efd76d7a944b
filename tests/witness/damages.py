"""A patched sample, and ways to have it differ from what was planned."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from kpatch import expected
from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, Section, read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.plan import Plan
from kpatch.patch.prepare import prepare
from kpatch.witness.readers.picture import Picture

SAMPLES = Path(__file__).parents[2] / "samples"


def planned(data: bytes, *, fix: bool = False) -> tuple[Plan, bytes]:
    plan = prepare(assess(read_module(data, "kqemu.ko")), replace_source_fix=fix)
    return plan, apply_plan(plan)


@cache
def sample() -> tuple[Module, Picture]:
    plan, data = planned((SAMPLES / "kqemu-7-ehframe.ko").read_bytes())
    return read_module(data), expected.after(plan, data)


def header(name: str, field: int, change: Callable[[int], int]) -> Callable[[bytearray], None]:
    """Changes one word of a section header; ``field`` is its place in Elf64_Shdr."""

    def damage(data: bytearray) -> None:
        section = section_of(name)
        at = sample()[0].header.shoff + section.index * AMD64.section.size
        row = list(AMD64.section.unpack_from(data, at))
        row[field] = change(row[field])
        AMD64.section.pack_into(data, at, *row)

    return damage


def entry(
    name: str, layout: struct.Struct, field: int, change: Callable[[int], int], index: int = -1
) -> Callable[[bytearray], None]:
    """Changes one field of an entry of a table, the last one without ``index``."""

    def damage(data: bytearray) -> None:
        section = section_of(name)
        count = section.size // layout.size
        at = section.offset + (index % count) * layout.size
        row = list(layout.unpack_from(data, at))
        row[field] = change(row[field])
        layout.pack_into(data, at, *row)

    return damage


def byte(name: str, at: int) -> Callable[[bytearray], None]:
    """Turns one bit of a section's contents."""

    def damage(data: bytearray) -> None:
        data[section_of(name).offset + at] ^= 1

    return damage


def elf_header(at: int, size: int, by: int) -> Callable[[bytearray], None]:
    """Adds to a field of the ELF header."""

    def damage(data: bytearray) -> None:
        value = int.from_bytes(data[at : at + size], "little") + by
        data[at : at + size] = value.to_bytes(size, "little")

    return damage


def swapped_relocations(data: bytearray) -> None:
    """Two neighbours of a table change their addends."""
    at = section_of(".rela.data").offset
    first, second = (AMD64.rela.unpack_from(data, at + n * AMD64.rela.size) for n in (0, 1))
    AMD64.rela.pack_into(data, at, first[0], first[1], second[2])
    AMD64.rela.pack_into(data, at + AMD64.rela.size, second[0], second[1], first[2])


def left_over(data: bytearray) -> None:
    """The place that a table had before it grew keeps its bytes."""
    original = read_module((SAMPLES / "kqemu-7-ehframe.ko").read_bytes())
    assert original.symtab is not None
    data[original.symtab.offset + 30] ^= 1


def left_over_behind(data: bytearray) -> None:
    """Padding that the patch brings along is zeros."""
    behind = section_of(".text.kpatch").end
    assert data[behind] == 0 and behind < section_of(".note.kpatch").offset
    data[behind] = 0x90


def section_of(name: str) -> Section:
    section = sample()[0].section_named(name)
    assert section is not None
    return section


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "a relocation is against the symbol before": entry(
        ".rela.text.kpatch", AMD64.rela, 1, lambda info: info - (1 << 32)
    ),
    "a site is relocated against the other trampoline": entry(
        ".rela.rodata", AMD64.rela, 1, lambda info: info - (1 << 32)
    ),
    "a relocation's addend is off by one": entry(".rela.rodata", AMD64.rela, 2, lambda a: a + 1),
    "an old relocation's addend is off by one": entry(
        ".rela.text", AMD64.rela, 2, lambda a: a + 1, 3
    ),
    "a relocation lies one byte further": entry(".rela.rodata", AMD64.rela, 0, lambda o: o + 1),
    "a relocation has another type": entry(".rela.text.kpatch", AMD64.rela, 1, lambda i: i + 10),
    "two relocations have each other's addends": swapped_relocations,
    "a new section is moved": header(".text.kpatch", 4, lambda offset: offset + 16),
    "an old section is moved": header(".data", 4, lambda offset: offset - 8),
    "sh_info of a relocation table": header(".rela.rodata", 7, lambda info: info + 1),
    "sh_info of the symbol table": header(".symtab", 7, lambda info: info - 1),
    "sh_link of the symbol table": header(".symtab", 6, lambda link: link + 1),
    "a section is one byte shorter": header(".text.kpatch", 5, lambda size: size - 1),
    "the lock's page is smaller": header(".bss.kpatch", 5, lambda size: size // 2),
    "the lock's page is not aligned": header(".bss.kpatch", 8, lambda align: align // 2),
    "the lock's page is in the file": header(".bss.kpatch", 1, lambda _: elf.SHT_PROGBITS),
    "the note would be loaded": header(".note.kpatch", 1, lambda _: elf.SHT_PROGBITS),
    "the code cannot be executed": header(".text.kpatch", 2, lambda _: elf.SHF_ALLOC),
    "a section has another's name": header(".text.kpatch", 0, lambda name: name + 5),
    "a linker set is longer": header("set_sysinit_set", 5, lambda size: size + 8),
    "a new symbol has another value": entry(".symtab", AMD64.symbol, 4, lambda v: v + 1, -2),
    "a new symbol is local": entry(".symtab", AMD64.symbol, 1, lambda info: info & 15, -3),
    "a new symbol is in another section": entry(".symtab", AMD64.symbol, 3, lambda s: s + 1, -3),
    "the kernel's symbol is defined": entry(".symtab", AMD64.symbol, 3, lambda _: 0xFFF1),
    "an old symbol has another size": entry(".symtab", AMD64.symbol, 5, lambda size: size + 1, 20),
    "a symbol's name begins one byte later": entry(".symtab", AMD64.symbol, 0, lambda n: n + 1),
    "a bit of the trampoline": byte(".text.kpatch", 3),
    "a bit of the image": byte(".rodata", 0x1000),
    "a bit of a string that nobody uses": byte(".strtab", 0),
    "a bit of the note": byte(".note.kpatch", 40),
    "one section fewer": elf_header(60, 2, -1),
    "the names are in another section": elf_header(62, 2, -1),
    "another OS/ABI": elf_header(7, 1, -9),
    "another version in the identification": elf_header(6, 1, 1),
    "another ABI version": elf_header(8, 1, 3),
    "padding of the identification": elf_header(12, 1, 1),
    "another size of the header": elf_header(52, 2, 8),
    "a size of program headers": elf_header(54, 2, 56),
    "the first section has a name": header("", 0, lambda _: 1 << 31),
    "the lock's page is somewhere else": header(".bss.kpatch", 4, lambda offset: offset + 1),
    "a byte that is appended": lambda data: data.append(0x41),
    "a zero that is appended": lambda data: data.append(0),
    "what the old symbol table was": left_over,
    "a byte between two sections": left_over_behind,
}
