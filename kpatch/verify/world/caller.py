"""How kqemu_exec calls a source fix: under a lock of its own, on memory that was allocated.

The port's fixes A and B take no lock. Their caller does: ``lock dec`` of a byte of the state that
all guests share, a loop while it is not free, the call, and an exchange that makes the byte 1
again. What runs between the two is the part of kqemu_exec that other CPUs can tell, and all of it
that is run here. Whether both lock the same byte is seen by following values in the order in
which the code is written: a register that a call destroys, or a value that is not understood, is
equal to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.isa.calling import DESTROYED
from kpatch.isa.decode import Immediate, Instruction, Memory, Register, decode
from kpatch.kqemu.codescan import CallSite
from kpatch.units import SectionOffset
from kpatch.verify.hardware.registers import GENERAL

_REACH: Final = 32
"""Instructions from the call to where the lock is taken, and to where it is released."""

_MOST_BYTES: Final = 1 << 16
_WAITING: Final = frozenset({"jns", "pause", "cmp", "jle", "jmp", "nop"})
_MOVING: Final = frozenset({"mov", "lea", "movzx", "add"})
_FRAME: Final = ("rsp", "rbp")


@dataclass(frozen=True)
class LockedPart:
    """A stretch of a function, from where it takes a lock to behind where it releases it.

    ``pointers`` are registers from which the lock is so many bytes away, at the start.
    ``cells`` are places of memory that hold such a pointer: base register, displacement, and the
    bytes from the pointer to the lock. ``constants`` are registers that hold a number.
    """

    section: int
    start: SectionOffset
    end: SectionOffset
    pointers: tuple[tuple[str, int], ...]
    cells: tuple[tuple[str, int, int], ...]
    constants: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Value:
    """``root`` and a number: a register at the start, what memory held, or nothing known."""

    root: object
    plus: int = 0


def locked_part(module: Module, call: CallSite) -> LockedPart | None:
    """The stretch around a call that is run under a lock; None where it has another form."""
    code = _function(module, call)
    at = next(
        (n for n, instruction in enumerate(code) if instruction.address == call.place.offset), None
    )
    if at is None or call.mnemonic != "call":
        return None
    before, behind = code[max(0, at - _REACH) : at], code[at + 1 : at + 1 + _REACH]
    take = next((instruction for instruction in reversed(before) if _takes(instruction)), None)
    release = next((instruction for instruction in behind if _releases(instruction)), None)
    if take is None or release is None:
        return None
    first, last = code.index(take), code.index(release)
    if not all(
        _is_followed(instruction) for instruction in (*code[first + 1 : at], *code[at + 1 : last])
    ):
        return None
    return _stretch(call, code, first, last)


def _stretch(
    call: CallSite, code: Sequence[Instruction], first: int, last: int
) -> LockedPart | None:
    walk = _CallerWalk({name: _Value(("start", name)) for name in GENERAL})
    for each in code[:first]:
        walk.take(each)
    taken, reached = _memory(code[first]), walk.address(_memory(code[first]))
    held = dict(walk.registers)
    walk.cells.clear()
    for each in code[first + 1 : last]:
        walk.take(each)
    released, register = _memory(code[last]), _register(code[last])
    value = walk.get(register.whole)
    if walk.address(released) != reached or (value.root, value.plus & 0xFF) != ("number", 1):
        return None
    if taken.base in _FRAME or taken.base is None:
        return None
    cells = []
    for (base, displacement), loaded in walk.cells.items():
        distance = reached.plus - loaded.plus
        if loaded.root != reached.root or held[base] != walk.get(base):
            return None  # memory that is not understood would be read
        cells.append((base, displacement, distance))
    numbers = {name: value.plus for name, value in held.items() if value.root == "number"}
    used = {name for instruction in code[first : last + 1] for name in instruction.reads}
    return LockedPart(
        call.place.section,
        SectionOffset(code[first].address),
        SectionOffset(code[last].end),
        ((taken.base, taken.displacement),),
        tuple(cells),
        tuple((name, number) for name, number in numbers.items() if name in used),
    )


def _function(module: Module, call: CallSite) -> list[Instruction]:
    """The code of the function with the call, from its symbol on."""
    starts = [
        symbol.value
        for symbol in module.symbols
        if symbol.type == elf.STT_FUNC
        and symbol.section == call.place.section
        and symbol.value <= call.place.offset
    ]
    start = max(starts, default=0)
    end = call.place.offset + _REACH * 15
    if end - start > _MOST_BYTES:
        return []
    contents = module.contents(module.sections[call.place.section])
    return list(decode(contents[start:end], start))


def _takes(instruction: Instruction) -> bool:
    return instruction.mnemonic == "lock dec" and _is_byte(instruction)


def _releases(instruction: Instruction) -> bool:
    registers = [one for one in instruction.operands if isinstance(one, Register)]
    return instruction.operation == "xchg" and _is_byte(instruction) and len(registers) == 1


def _is_byte(instruction: Instruction) -> bool:
    memory = [one for one in instruction.operands if isinstance(one, Memory)]
    return any(one.size == 1 and one.segment is None and one.index is None for one in memory)


def _is_followed(instruction: Instruction) -> bool:
    if instruction.mnemonic in _MOVING:
        return isinstance(instruction.operands[0], Register)
    return instruction.mnemonic in _WAITING


def _memory(instruction: Instruction) -> Memory:
    return next(one for one in instruction.operands if isinstance(one, Memory))


def _register(instruction: Instruction) -> Register:
    return next(one for one in instruction.operands if isinstance(one, Register))


@dataclass
class _CallerWalk:
    """What the registers hold. ``cells`` are the places of memory that were loaded from."""

    registers: dict[str, _Value] = field(default_factory=dict)
    cells: dict[tuple[str, int], _Value] = field(default_factory=dict)

    def get(self, register: str | None) -> _Value:
        """The value of a register; one of its own where nothing is known."""
        if register is None:
            return _Value(object())
        return self.registers.setdefault(register, _Value(("start", register)))

    def address(self, memory: Memory) -> _Value:
        """The address that an operand without an index names."""
        base = self.get(memory.base)
        return _Value(base.root, base.plus + memory.displacement)

    def take(self, instruction: Instruction) -> None:
        """The effect of one instruction, as far as it is understood."""
        if instruction.is_call:
            for name in DESTROYED:
                self.registers[name] = _Value(object())
            return
        match instruction.mnemonic, instruction.operands:
            case "mov", (Register(whole=target, size=8), Register(whole=source, size=8)):
                self.registers[target] = self.get(source)
            case "mov", (Register(whole=target), Immediate(value=number)):
                self.registers[target] = _Value("number", number)
            case "mov", (Register(whole=target, size=4), Register(whole=source, size=4)):
                value = self.get(source)
                self.registers[target] = value if value.root == "number" else _Value(object())
            case "mov", (Register(whole=target, size=8), Memory(base=str(base), index=None) as at):
                place = self.address(at)
                self.registers[target] = _Value(("memory", place.root, place.plus))
                self.cells[base, at.displacement] = self.registers[target]
            case "lea", (Register(whole=target, size=8), Memory(base=str(), index=None) as at):
                self.registers[target] = self.address(at)
            case "add", (Register(whole=target, size=8), Immediate(value=number)):
                value = self.get(target)
                self.registers[target] = _Value(value.root, value.plus + number)
            case _:
                for name in instruction.writes:
                    self.registers[name] = _Value(object())
