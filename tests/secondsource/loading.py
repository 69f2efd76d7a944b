"""Loads a module as the FreeBSD kernel linker does, with pyelftools and nothing of kpatch."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from elftools.elf.elffile import ELFFile

from tests.secondsource.places import KERNEL, MODULE, TSS

_ABSOLUTE, _RELATIVE, _SIGNED = 1, 2, 11  # R_X86_64_64, _PC32, _32S
_SYMBOL, _RELOCATION = struct.Struct("<IBBHQQ"), struct.Struct("<QQq")  # gABI, Elf64_Sym and _Rela
_ELSEWHERE = KERNEL + 0x3FF000  # stands for every function of the kernel: none is called


@dataclass(frozen=True)
class Loaded:
    """A module's bytes from MODULE on, and the physical address of the image array."""

    memory: bytes
    array: int


def load(data: bytes, header: Sequence[int]) -> Loaded:
    """Place PROGBITS and NOBITS in the order of their headers, and relocate.

    ``header`` are the five offsets that the image starts with. Raises ValueError for a relocation
    type that the kernel does not know.
    """
    elf = ELFFile(io.BytesIO(data))
    sections = list(elf.iter_sections())
    memory = bytearray()
    base: dict[int, int] = {}
    for index, section in enumerate(sections):
        kind = section["sh_type"]
        if kind in ("SHT_PROGBITS", "SHT_NOBITS"):
            memory += bytes(-len(memory) % section["sh_addralign"])
            base[index] = len(memory)
            memory += section.data() if kind == "SHT_PROGBITS" else bytes(section["sh_size"])
    symtab = elf.get_section_by_name(".symtab")
    names = sections[symtab["sh_link"]]
    # pyelftools takes a millisecond for ten entries of a table.
    symbols = list(_SYMBOL.iter_unpack(symtab.data()))
    for table in sections:
        for offset, info, addend in (
            _RELOCATION.iter_unpack(table.data()) if table["sh_type"] == "SHT_RELA" else ()
        ):
            name, _, _, section, value, _ = symbols[info >> 32]
            at = base[table["sh_info"]] + offset
            if section:
                target = KERNEL + MODULE + base[section] + value
            else:
                is_tss = names.get_string(name) == "common_tss"
                target = KERNEL + TSS if is_tss else _ELSEWHERE
            memory[at : at + 8] = _field(
                info & 0xFFFF_FFFF, addend + target, at, bytes(memory[at : at + 8])
            )
    return Loaded(bytes(memory), MODULE + memory.index(struct.pack("<5I", *header)))


def _field(kind: int, value: int, at: int, old: bytes) -> bytes:
    if kind == _ABSOLUTE:
        return struct.pack("<Q", value % 2**64)
    if kind == _RELATIVE:
        return struct.pack("<i", value - (KERNEL + MODULE + at)) + old[4:]
    if kind == _SIGNED:
        return struct.pack("<i", value - 2**64) + old[4:]
    raise ValueError(f"relocation type {kind}")


def leaving(page: bytes, header: Sequence[int]) -> int:
    """Where ``monitor2kernel`` starts: behind the monitor side's return, and padding."""
    returned = False
    for each in Cs(CS_ARCH_X86, CS_MODE_64).disasm(page[header[2] : header[3]], header[2]):
        if returned and each.mnemonic not in ("nop", "int3"):
            return int(each.address)
        returned = returned or each.mnemonic.split()[-1] == "ret"
    raise ValueError("no monitor2kernel")


def harness(folder: Path) -> bytes:
    """The machine code of harness.S, made in ``folder``."""
    source = Path(__file__).with_name("harness.S")
    for words in (
        ["gcc", "-c", str(source), "-o", "harness.o"],
        ["ld", "--oformat", "binary", "-Ttext", "0", "harness.o", "-o", "harness.bin"],
    ):
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=300)
    return (folder / "harness.bin").read_bytes()
