"""Finds single instructions in a module's own code: candidates by bytes, confirmed by decoding.

Bytes alone mislead (an immediate can look like ``ltr``), and decoding a whole module with all
details is slow. So bytes say where to look, and the code is decoded from the nearest known
start in front of it: a function symbol, or the start of the section.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Relocation, Section
from kpatch.isa.decode import MAX_LENGTH, Instruction, decode
from kpatch.units import SectionOffset

# SDM vol. 2, LTR: 0F 00 /3, the operand a register or memory in any addressing form.
_LTR: Final = re.compile(rb"\x0f\x00[\x18-\x1f\x58-\x5f\x98-\x9f\xd8-\xdf]")
# SDM vol. 2, CALL and JMP: E8 cd, E9 cd; a call in tail position becomes a jump.
_NEAR_TRANSFER: Final = re.compile(rb"[\xe8\xe9]")
_NEAR_TRANSFER_SIZE: Final = 5
_PC32: Final = (elf.R_X86_64_PC32, elf.R_X86_64_PLT32)
_WINDOW: Final = 1024  # bytes decoded at a time
_MOST_LTR: Final = 64  # more of them prove nothing more
_FIELD_TO_END: Final = 4  # PC32 counts from the field, the CPU from the end of the instruction


@dataclass(frozen=True, slots=True)
class CodePlace:
    """One instruction: the index of its section, its offset there, its size in bytes."""

    section: int
    offset: SectionOffset
    size: int


@dataclass(frozen=True, slots=True)
class CallSite:
    """A ``call rel32`` or ``jmp rel32``; ``relocation`` is None where the assembler resolved it."""

    place: CodePlace
    mnemonic: str
    relocation: Relocation | None


def find_ltr(module: Module, ignored: Collection[str] = ()) -> tuple[CodePlace, ...]:
    """The ``ltr`` instructions in executable sections, at most 64, ``ignored`` names excepted."""
    found = (
        CodePlace(code.section.index, SectionOffset(instruction.address), len(instruction.raw))
        for code in _codes(module)
        if code.section.name not in ignored
        for instruction in code.confirmed(match.start() for match in _LTR.finditer(code.bytes))
        if instruction.mnemonic == "ltr"
    )
    return tuple(islice(found, _MOST_LTR))


def find_calls(module: Module, section: int, offset: SectionOffset) -> tuple[CallSite, ...]:
    """Every direct call of, and jump to, the code at ``offset`` of section ``section``."""
    sites: list[CallSite] = []
    for code in _codes(module):
        for instruction in code.confirmed(_transfers(module, code, section, offset)):
            if len(instruction.raw) != _NEAR_TRANSFER_SIZE:
                continue
            place = CodePlace(
                code.section.index, SectionOffset(instruction.address), len(instruction.raw)
            )
            relocations = module.relocations_at(
                code.section.index, instruction.address, instruction.end
            )
            sites.append(
                CallSite(place, instruction.mnemonic, relocations[0] if relocations else None)
            )
    return tuple(sites)


def _transfers(module: Module, code: _Code, section: int, offset: SectionOffset) -> Iterator[int]:
    """Where the bytes of a transfer to the target may be."""
    for match in _NEAR_TRANSFER.finditer(code.bytes):
        start, end = match.start(), match.start() + _NEAR_TRANSFER_SIZE
        if end > len(code.bytes):
            return
        relocations = module.relocations_at(code.section.index, start, end)
        if relocations:
            if any(_leads_to(module, r, start, section, offset) for r in relocations):
                yield start
        elif code.section.index == section:
            distance = int.from_bytes(code.bytes[start + 1 : end], "little", signed=True)
            if end + distance == offset:
                yield start


def _leads_to(
    module: Module, relocation: Relocation, start: int, section: int, offset: SectionOffset
) -> bool:
    symbol = module.symbols[relocation.symbol]
    return (
        relocation.type in _PC32
        and relocation.offset == start + 1
        and symbol.section == section
        and symbol.value + relocation.addend + _FIELD_TO_END == offset
    )


@dataclass(frozen=True)
class _Code:
    """One executable section and the places where decoding may start."""

    section: Section
    bytes: bytes
    starts: tuple[int, ...]

    def confirmed(self, candidates: Iterator[int]) -> Iterator[Instruction]:
        """The instructions that really begin at ``candidates``, which rise."""
        for start, group in groupby(candidates, self._start_before):
            wanted = set(group)
            span = self.bytes[start : min(max(wanted) + MAX_LENGTH, len(self.bytes))]
            yield from (i for i in _decode_on(span, start) if i.address in wanted)

    def _start_before(self, candidate: int) -> int:
        return self.starts[bisect_right(self.starts, candidate) - 1]


def _codes(module: Module) -> Iterator[_Code]:
    for section in module.sections:
        if section.is_code and section.type == elf.SHT_PROGBITS:
            functions = {
                symbol.value
                for symbol in module.symbols
                if symbol.section == section.index
                and symbol.type == elf.STT_FUNC
                and symbol.value < section.size
            }
            yield _Code(section, module.contents(section), tuple(sorted({0} | functions)))


def _decode_on(code: bytes, address: int) -> Iterator[Instruction]:
    """Decode all of ``code``, one byte further on where a byte begins no instruction."""
    position = 0
    while position < len(code):
        reached = position
        # Capstone decodes a whole buffer before it yields: a window keeps memory bounded. An
        # instruction that the window cuts off is the first one of the next window.
        window = code[position : position + _WINDOW]
        for instruction in decode(window, address + position):
            yield instruction
            reached = instruction.end - address
        position = max(reached, position + 1)
