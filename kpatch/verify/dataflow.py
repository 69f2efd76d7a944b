"""Follows values through straight code: which field of the state structure ends up where.

Just enough for a world switch. Code is read from top to bottom, branches are not followed, and a
value that is not understood is forgotten. What is left is a list of events: a field that was
loaded into a control register, a system register that was stored into a field, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kpatch.isa.decode import Immediate, Instruction, Memory, Operand, Register


@dataclass(frozen=True)
class State:
    """The address of the state structure, in whichever address space is current."""


@dataclass(frozen=True)
class Field:
    """What a field of the state held, possibly with a constant added."""

    displacement: int
    size: int
    plus: int = 0


@dataclass(frozen=True)
class System:
    """The contents of a system or segment register, or of ``rsp``."""

    name: str


@dataclass(frozen=True)
class Code:
    """The address of the code at an image offset."""

    offset: int


Value = State | Field | System | Code


@dataclass(frozen=True)
class Event:
    """Something that says what a field is for. ``at`` is the image offset of the instruction.

    ``what`` names it: ``load cr3``, ``store cs``, ``lgdt``, ``push``, ``jump``, ``state address``,
    ``lend +8`` (a field stored 8 bytes behind the start of something outside of the state).
    """

    what: str
    value: Value
    at: int


_CONTROL = frozenset({"cr0", "cr3", "cr4", "dr7"})
_SEGMENTS = frozenset({"cs", "ss", "ds", "es", "fs", "gs"})
_SYSTEM = _CONTROL | _SEGMENTS | {"rsp"}
_TABLES = frozenset({"sidt", "sgdt", "lidt", "lgdt", "str", "sldt", "lldt", "ltr"})
_LOADS = frozenset({"mov", "movzx", "movabs"})


def follow(code: Iterable[Instruction], state: str = "rdi") -> tuple[Event, ...]:
    """The events of a routine that starts with the state's address in register ``state``."""
    walk = _Walk({state: State()})
    for instruction in code:
        walk.take(instruction)
    return tuple(walk.events)


class _Walk:
    def __init__(self, known: dict[str, Value]) -> None:
        self.known = known
        self.events: list[Event] = []

    def take(self, instruction: Instruction) -> None:
        operands = instruction.operands
        if instruction.mnemonic in _TABLES and operands:
            self._report(instruction.mnemonic, self._value(operands[0], instruction), instruction)
        elif instruction.mnemonic in _LOADS and len(operands) == 2:
            self._move(operands[0], operands[1], instruction)
        elif instruction.mnemonic == "lea" and len(operands) == 2:
            self._lea(operands[0], operands[1], instruction)
        elif instruction.mnemonic == "add" and len(operands) == 2:
            self._add(operands[0], operands[1], instruction)
        elif instruction.mnemonic == "push":
            self._report("push", self._value(operands[0], instruction), instruction)
        elif instruction.mnemonic == "jmp":
            self._report("jump", self._value(operands[0], instruction), instruction)
        else:
            self._forget(instruction)

    def _move(self, target: Operand, source: Operand, instruction: Instruction) -> None:
        value = self._value(source, instruction)
        if isinstance(target, Memory):
            self._store(target, value, instruction)
        elif isinstance(target, Register):
            self._set(target, value, instruction)

    def _store(self, target: Memory, value: Value | None, instruction: Instruction) -> None:
        field = self._field(target)
        if field is not None and isinstance(value, System):
            self._report(f"store {value.name}", field, instruction)
        elif field is None and isinstance(value, Field):
            self._report(f"lend {target.displacement:+d}", value, instruction)

    def _set(self, target: Register, value: Value | None, instruction: Instruction) -> None:
        if target.name in _SYSTEM:
            self._report(f"load {target.name}", value, instruction)
        elif self.known.get(target.whole) == State() and isinstance(value, Field):
            # The state's other address: the register goes on naming the state.
            self._report("state address", value, instruction)
        elif value is None:
            self.known.pop(target.whole, None)
        else:
            self.known[target.whole] = value

    def _lea(self, target: Operand, source: Operand, instruction: Instruction) -> None:
        value: Value | None = None
        if isinstance(source, Memory) and source.index is None:
            if source.base == "rip":
                value = Code(instruction.end + source.displacement)
            elif isinstance(base := self.known.get(source.base or ""), Field):
                value = Field(base.displacement, base.size, base.plus + source.displacement)
        if isinstance(target, Register):
            self._set(target, value, instruction)

    def _add(self, target: Operand, source: Operand, instruction: Instruction) -> None:
        if not isinstance(target, Register):
            return
        base = self.known.get(target.whole)
        if isinstance(base, Field) and isinstance(source, Immediate):
            plus = base.plus + source.value
            self.known[target.whole] = Field(base.displacement, base.size, plus)
        else:
            self._forget(instruction)

    def _value(self, operand: Operand, instruction: Instruction) -> Value | None:
        if isinstance(operand, Memory):
            return self._field(operand)
        if isinstance(operand, Register):
            if operand.name in _SYSTEM:
                return System(operand.name)
            return self.known.get(operand.whole)
        return None

    def _field(self, operand: Memory) -> Field | None:
        if operand.index is None and self.known.get(operand.base or "") == State():
            return Field(operand.displacement, operand.size)
        return None

    def _forget(self, instruction: Instruction) -> None:
        for register in instruction.writes:
            self.known.pop(register, None)

    def _report(self, what: str, value: Value | None, instruction: Instruction) -> None:
        if value is not None:
            self.events.append(Event(what, value, instruction.address))
