"""Finds single instructions in a module's own code: candidates by bytes, confirmed by decoding.

Bytes alone mislead (an immediate can look like ``ltr``), and decoding a whole module with all
details is slow. So bytes say where to look, and the code is decoded from the nearest known
start in front of it: a function symbol, or the start of the section, or a bounded stretch.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Relocation, Section
from kpatch.errors import MatchError
from kpatch.isa.decode import Outline, decode_one, outline
from kpatch.isa.instruction import Instruction
from kpatch.isa.mnemonics import operation_of
from kpatch.units import SectionOffset

# SDM vol. 2, LTR: 0F 00 /3, the operand a register or memory in any addressing form.
_LTR: Final = re.compile(rb"\x0f\x00[\x18-\x1f\x58-\x5f\x98-\x9f\xd8-\xdf]")
_MOST_LTR: Final = 64  # more of them prove nothing more
_MOST_MARKS: Final = 128
_BYTES_A_MARK: Final = 64 << 10
"""Places that may look like ``ltr``: so many, and one more for each such piece of the code. Chance
makes one in half a mebibyte; each may cost the decoding of _REACH bytes."""

_MOST_CALLS: Final = 1024
"""Places that may be calls of one function; a kqemu has under a hundred of any."""

# SDM vol. 2, CALL, JMP, Jcc: opcodes with a rel32, opcodes with a rel8. A call in tail position
# becomes a jump, and inside one section the assembler takes the shortest.
_TRANSFERS: Final = (
    (rb"[\xe8\xe9]|\x0f[\x80-\x8f]", 4),
    (rb"[\xeb\x70-\x7f]", 1),
)
_PC32: Final = (elf.R_X86_64_PC32, elf.R_X86_64_PLT32)
_FIELD_TO_END: Final = 4  # PC32 counts from the field, the CPU from the end of the instruction
_WINDOW: Final = 1024  # bytes decoded at a time

# SDM vol. 2, appendix A.3, table A-2: bytes that begin nothing in 64-bit mode.
_UNDEFINED: Final = rb"[\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x82\x9a\xd4-\xd6\xea]+"

_REACH: Final = 1 << 10
"""Bytes in front of a candidate from which decoding starts where no known start is nearer. Decoding
falls into step within a few instructions, whatever byte it starts at."""


class CodePlace(NamedTuple):
    """One instruction: the index of its section, its offset there, its size in bytes."""

    section: int
    offset: SectionOffset
    size: int


class CallSite(NamedTuple):
    """A direct call or jump; ``relocation`` is None where the assembler resolved it."""

    place: CodePlace
    mnemonic: str
    relocation: Relocation | None


class _ExecutableSection(NamedTuple):
    """One executable section and the places where decoding may start."""

    section: Section
    bytes: memoryview
    starts: tuple[int, ...]

    def instructions_over(
        self, marks: Iterable[int], is_wanted: Callable[[str], bool]
    ) -> Iterator[Instruction]:
        """The instructions of a wanted mnemonic that the bytes at ``marks`` belong to.

        The marks rise. Everything is decoded once at most, however many there are.
        """
        known, reached = -1, 0
        walk: Iterator[Outline] = iter(())
        current: Outline | None = None
        for mark in marks:
            start = self._start_before(mark)
            if start > known or mark - reached > _REACH:
                known, current = start, None
                walk = _decode_on(self.bytes, max(start, mark - _REACH))
            while current is None or current.address + current.size <= mark:
                current = next(walk, None)
                if current is None:
                    return
                reached = current.address + current.size
            if current.address <= mark and is_wanted(current.mnemonic):
                raw = self.bytes[current.address : reached]
                instruction = decode_one(raw, current.address)
                current = current._replace(mnemonic="")  # each instruction once
                if instruction is not None:
                    yield instruction

    def _start_before(self, candidate: int) -> int:
        return self.starts[bisect_right(self.starts, candidate) - 1]


def find_ltr(module: Module, ignored: Collection[str] = ()) -> tuple[CodePlace, ...]:
    """The ``ltr`` instructions in sections with code, at most 64, ``ignored`` names excepted.

    Raises MatchError where far more places look like one than in any kqemu.
    """
    found = (
        _place(code, instruction)
        for code in _codes(module)
        if code.section.name not in ignored
        for instruction in code.instructions_over(_marks(module.name, code.bytes), "ltr".__eq__)
    )
    return tuple(islice(found, _MOST_LTR))


def _marks(name: str, code: memoryview) -> Iterator[int]:
    most = _MOST_MARKS + len(code) // _BYTES_A_MARK
    for number, found in enumerate(_LTR.finditer(code)):
        if number == most:
            raise _too_many(most, "'ltr'", name)
        yield found.start()


def _too_many(most: int, what: str, name: str) -> MatchError:
    return MatchError(
        f"more than {most} places in its code look like {what}, as in no kqemu",
        where=name,
        todo="give it the kqemu.ko of a FreeBSD/amd64 host",
    )


def find_calls(module: Module, section: int, offset: SectionOffset) -> tuple[CallSite, ...]:
    """Every direct call of, and jump to, the code at ``offset`` of section ``section``.

    Raises MatchError where far more places look like one than in any kqemu.
    """
    sites: list[CallSite] = []
    room = _MOST_CALLS
    for code in _codes(module):
        index = code.section.index
        marks = {
            int(r.offset)
            for r in module.relocations_of(index)
            if _leads_to(module, r, section, offset)
        }
        if index == section:
            marks.update(islice(_transfers(code.bytes, offset), _MOST_CALLS + 1))
        room -= len(marks)
        if room < 0:
            raise _too_many(_MOST_CALLS, f"a call of one function ({offset:#x})", module.name)
        for instruction in code.instructions_over(sorted(marks), _is_transfer):
            if not instruction.is_call and not instruction.is_branch:
                continue
            fixups = module.relocations_at(index, instruction.address, instruction.end)
            relocation = fixups[0] if fixups else None
            if relocation is None:
                leads = index == section and instruction.branch_target == offset
            else:
                leads = _leads_to(module, relocation, section, offset)
            if leads:
                place = _place(code, instruction)
                sites.append(CallSite(place, instruction.mnemonic, relocation))
    return tuple(sites)


def _place(code: _ExecutableSection, instruction: Instruction) -> CodePlace:
    return CodePlace(code.section.index, SectionOffset(instruction.address), len(instruction.raw))


def _transfers(code: memoryview, target: int) -> Iterator[int]:
    """Where the bytes of a transfer to ``target`` may be."""
    for opcode, width in _TRANSFERS:
        for match in re.finditer(opcode, code):
            end = match.end() + width
            distance = int.from_bytes(code[match.end() : end], "little", signed=True)
            if end + distance == target:
                yield match.start()


def _leads_to(module: Module, relocation: Relocation, section: int, offset: SectionOffset) -> bool:
    symbol = module.symbols[relocation.symbol]
    return (
        relocation.type in _PC32
        and symbol.section == section
        and symbol.value + relocation.addend + _FIELD_TO_END == offset
    )


def holds_code(module: Module) -> bool:
    """Whether anything says where the code of a module is."""
    return any(section.is_code for section in module.sections) or bool(_functions(module))


def _functions(module: Module) -> dict[int, set[int]]:
    """Where functions start, by the index of their section."""
    found: dict[int, set[int]] = {}
    for symbol in module.symbols:
        if symbol.type == elf.STT_FUNC and 0 < symbol.section < len(module.sections):
            found.setdefault(symbol.section, set()).add(symbol.value)
    return found


def _codes(module: Module) -> Iterator[_ExecutableSection]:
    """The sections with code. The kernel makes all that it loads executable, whatever the flags
    say (link_elf_obj.c), so one with a function in it is one as well.
    """
    functions = _functions(module)
    for section in module.sections:
        starts = functions.get(section.index, set())
        if section.type == elf.SHT_PROGBITS and (section.is_code or starts):
            inside = {start for start in starts if start < section.size}
            yield _ExecutableSection(section, module.view(section), tuple(sorted({0} | inside)))


def _decode_on(code: memoryview, position: int) -> Iterator[Outline]:
    """Decode ``code`` from ``position`` on, one byte further where a byte begins no instruction."""
    undefined_at = re.compile(_UNDEFINED).match
    while position < len(code):
        reached = position
        # Capstone decodes a whole buffer before it yields: a window keeps memory bounded. An
        # instruction that the window cuts off is the first one of the next window.
        for instruction in outline(code[position : position + _WINDOW], position):
            yield instruction
            reached = instruction.address + instruction.size
        if reached == position and (undefined := undefined_at(code, position)):
            reached = undefined.end()
        position = max(reached, position + 1)


def _is_transfer(mnemonic: str) -> bool:
    return operation_of(mnemonic).startswith(("call", "j", "loop"))
