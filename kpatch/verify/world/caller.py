"""How kqemu_exec calls a source fix: under a lock of its own, on memory that was allocated.

The port's fixes A and B take no lock. Their caller does: ``lock dec`` of a byte of the state that
all guests share, a loop while it is not free, the call, and an exchange that makes the byte 1
again. What runs between the two is the part of kqemu_exec that other CPUs can tell, and all of it
that is run here. Whether both lock the same byte is seen by following values in the order in
which the code is written: a register that a call destroys, or a value that is not understood, is
equal to nothing. What a compiler that does not optimise keeps on its frame is followed too, up to
the next call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.isa.calling import DESTROYED
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Immediate, Instruction, Memory, Operand, Register
from kpatch.kqemu.codescan import CallSite
from kpatch.units import SectionOffset
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.world.kernel_text import FRAME

_REACH: Final = 32
"""Instructions from the call to where the lock is taken, and to where it is released."""

_MOST_BYTES: Final = 1 << 16
_WAITING: Final = frozenset({"jns", "pause", "cmp", "jle", "jmp", "nop"})
_READING: Final = ("cmp", "test", "push")
_MOVING: Final = frozenset({"mov", "lea", "movzx", "add"})
FRAME_REGISTERS: Final = ("rsp", "rbp")

Place = tuple[str, int]
"""Memory: a register, and a displacement."""


@dataclass(frozen=True)
class LockedPart:
    """A stretch of a function, from where it takes a lock to behind where it releases it.

    ``pointers`` are registers from which the lock is so many bytes away, at the start.
    ``cells`` are places of memory that hold such a pointer: what their address is made of (a
    register, or a place on the frame that is loaded first), a displacement, and the bytes from the
    pointer to the lock. ``constants`` are registers that hold a number.
    """

    section: int
    start: SectionOffset
    end: SectionOffset
    pointers: tuple[tuple[str, int], ...]
    cells: tuple[tuple[str | Place, int, int], ...]
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
    walk.loads.clear()
    walk.own.clear()
    for each in code[first + 1 : last]:
        walk.take(each)
    released, register = _memory(code[last]), _register(code[last])
    value = walk.get(register.whole)
    if walk.address(released) != reached or (value.root, value.plus & 0xFF) != ("number", 1):
        return None
    if taken.base in FRAME_REGISTERS or taken.base is None:
        return None
    cells = _cells(walk, held, reached)
    if cells is None or any(held[name] != walk.get(name) for name in FRAME_REGISTERS):
        return None
    numbers = {name: value.plus for name, value in held.items() if value.root == "number"}
    used = {name for instruction in code[first : last + 1] for name in instruction.reads}
    return LockedPart(
        call.place.section,
        SectionOffset(code[first].address),
        SectionOffset(code[last].end),
        ((taken.base, taken.displacement),),
        cells,
        tuple((name, number) for name, number in numbers.items() if name in used),
    )


def _cells(
    walk: _CallerWalk, held: Mapping[str, _Value], reached: _Value
) -> tuple[tuple[str | Place, int, int], ...] | None:
    """The places that are loaded from; None if one holds what is not understood."""
    cells: dict[tuple[str | Place, int], int] = {}
    inner: dict[_Value, Place] = {}
    for (name, displacement), base, loaded in walk.loads:
        where = inner.pop(base, None) or (name if held[name] == base else None)
        if where is None:
            return None
        if loaded.root == reached.root:
            cells[where, displacement] = reached.plus - loaded.plus
        elif where in FRAME_REGISTERS:
            inner[loaded] = name, displacement  # where the next load looks
        else:
            return None
    if inner:
        return None
    return tuple((where, at, distance) for (where, at), distance in cells.items())


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
        target = instruction.operands[0]
        return isinstance(target, Register) or (
            instruction.mnemonic == "mov" and _is_on_frame(target)
        )
    return instruction.mnemonic in _WAITING


def _is_on_frame(operand: Operand) -> bool:
    """Whether it lies in the frame that the model gives the function."""
    match operand:
        case Memory(base="rbp", index=None, segment=None, displacement=at, size=size):
            return -FRAME <= at <= -size
        case Memory(base="rsp", index=None, segment=None, displacement=at, size=size):
            return 0 <= at <= FRAME - size
        case _:
            return False


def _memory(instruction: Instruction) -> Memory:
    return next(one for one in instruction.operands if isinstance(one, Memory))


def _register(instruction: Instruction) -> Register:
    return next(one for one in instruction.operands if isinstance(one, Register))


@dataclass
class _CallerWalk:
    """What the registers and the frame hold. ``loads`` are the places of memory that were loaded
    from, with what their register held and what was loaded; ``own`` are those on the frame that
    the code has stored to itself.
    """

    registers: dict[str, _Value] = field(default_factory=dict)
    frame: dict[tuple[_Value, int], _Value] = field(default_factory=dict)
    loads: list[tuple[Place, _Value, _Value]] = field(default_factory=list)
    own: set[tuple[_Value, int]] = field(default_factory=set)

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
            self.frame.clear()  # its address may have been handed over
            return
        match instruction.mnemonic, instruction.operands:
            case "mov", (Memory(base=str(base), index=None) as at, source) if (
                base in FRAME_REGISTERS
            ):
                self._store(at, source)
            case "mov", (Register(whole=target, size=8), Register(whole=source, size=8)):
                self.registers[target] = self.get(source)
            case "mov", (Register(whole=target), Immediate(value=number)):
                self.registers[target] = _Value("number", number)
            case "mov", (Register(whole=target, size=4), Register(whole=source, size=4)):
                value = self.get(source)
                self.registers[target] = value if value.root == "number" else _Value(object())
            case "mov" | "movzx", (
                Register(whole=target),
                Memory(base=str(base), index=None) as at,
            ) if at.size == 8 or base in FRAME_REGISTERS:
                self.registers[target] = self._load(at, base)
            case "lea", (Register(whole=target, size=8), Memory(base=str(), index=None) as at):
                self.registers[target] = self.address(at)
            case "add", (Register(whole=target, size=8), Immediate(value=number)):
                value = self.get(target)
                self.registers[target] = _Value(value.root, value.plus + number)
            case mnemonic, operands:
                for name in instruction.writes:
                    self.registers[name] = _Value(object())
                match operands:
                    case (Memory(base="rsp" | "rbp") as at, *_) if mnemonic not in _READING:
                        self._store(at, at)

    def _load(self, at: Memory, base: str) -> _Value:
        place = self.address(at)
        value = _Value(("memory", place.root, place.plus))
        if base in FRAME_REGISTERS:
            value = self.frame.get((place, at.size), value)
        if (place, at.size) not in self.own:
            self.loads.append(((base, at.displacement), self.get(base), value))
        return value

    def _store(self, at: Memory, source: Operand) -> None:
        place, value = self.address(at), _Value(object())
        if isinstance(source, Immediate):
            value = _Value("number", source.value)
        elif isinstance(source, Register):
            held = self.get(source.whole)
            value = held if source.size == 8 or held.root == "number" else value
        new = place, at.size
        self.frame = {one: held for one, held in self.frame.items() if not _overlap(one, new)}
        self.frame[new] = value
        self.own = {one for one in self.own if not _overlap(one, new)} | {new}


def _overlap(one: tuple[_Value, int], other: tuple[_Value, int]) -> bool:
    (first, size), (second, length) = one, other
    same = first.root == second.root
    return same and first.plus < second.plus + length and second.plus < first.plus + size
