"""Follows values through straight code: which field of the state structure ends up where.

Just enough for a world switch. Code is read from top to bottom, branches are not followed, and a
value that is not understood is forgotten. What is left is a list of events: a field that was
loaded into a control register, a system register that was stored into a field, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from kpatch.isa.calling import ARGUMENT
from kpatch.isa.instruction import SEGMENTS, Instruction, Memory, Operand, Register


@dataclass(frozen=True)
class StateField:
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


@dataclass(frozen=True)
class Constant:
    """A number."""

    number: int


KnownValue = StateField | Field | System | Code | Constant


@dataclass(frozen=True)
class Event:
    """Something that says what a field is for. ``at`` is the image offset of the instruction.

    ``what`` names it: ``load cr3``, ``store cs``, ``lgdt``, ``push``, ``jump``, ``state address``
    (a field whose value is used as the state's address from then on), ``lend +8`` (a field stored
    8 bytes behind the start of something outside of the state), and for a far return
    ``return to segment`` and ``return to address``. For ``load flags`` the value is where on the
    stack they were, counted from where ``rsp`` was first known.
    """

    what: str
    value: KnownValue
    at: int


_CONTROL = frozenset({"cr0", "cr3", "cr4", "dr7"})
_SYSTEM = _CONTROL | SEGMENTS | {"rsp"}
_TABLES = frozenset({"sidt", "sgdt", "lidt", "lgdt", "str", "sldt", "lldt", "ltr"})
_LOADS = frozenset({"mov", "movzx", "movabs"})
_IDEMPOTENT = frozenset({"or", "and"})
_WORD = 8


CALLED: Final = frozenset({ARGUMENT})
"""Where a routine that is called finds the state's address."""


class Followed(NamedTuple):
    """The events of a routine, the registers that hold the state's address at its end, and by how
    many bytes ``rsp`` is then above where it was first known.
    """

    events: tuple[Event, ...]
    state: frozenset[str]
    depth: int


def follow(code: Iterable[Instruction], state: frozenset[str] = CALLED) -> Followed:
    """Follow a routine that starts with the state's address in the registers ``state``."""
    walk = _SwitchWalk({register: StateField() for register in state})
    for instruction in code:
        walk.take(instruction)
    held = frozenset(name for name, value in walk.known.items() if value == StateField())
    return Followed(tuple(walk.events), held, walk.depth)


class _SwitchWalk:
    """What the registers and the top of the stack hold, as far as it is understood."""

    def __init__(self, known: dict[str, KnownValue]) -> None:
        self.known = known
        self.stack: dict[int, KnownValue] = {}
        self.depth = 0  # of rsp below where it was first known, in bytes; below it is negative
        self.events: list[Event] = []

    def take(self, instruction: Instruction) -> None:
        operands = instruction.operands
        if instruction.mnemonic in _TABLES and operands:
            self._report(instruction.mnemonic, self._value(operands[0], instruction), instruction)
        elif instruction.mnemonic in _LOADS and len(operands) == 2:
            self._move(operands[0], operands[1], instruction)
        elif instruction.mnemonic in _IDEMPOTENT and operands[0] == operands[-1]:
            return  # a test of a register against zero
        elif instruction.mnemonic in ("lea", "add", "sub") and len(operands) == 2:
            self._calculate(operands[0], operands[1], instruction)
        elif instruction.mnemonic == "push":
            value = self._value(operands[0], instruction)
            self._report("push", value, instruction)
            self.depth -= _WORD
            self._put(self.depth, value)
        elif instruction.mnemonic == "pop":
            value = self.stack.get(self.depth)
            self.depth += _WORD
            self._into(operands[0], value, instruction)
        elif instruction.mnemonic in ("pushf", "pushfq"):
            self.depth -= _WORD
            self._put(self.depth, None)
        elif instruction.mnemonic in ("popf", "popfq"):
            self._report("load flags", Constant(self.depth), instruction)
            self.depth += _WORD
        elif instruction.mnemonic == "jmp":
            self._report("jump", self._value(operands[0], instruction), instruction)
        elif instruction.is_far_return:
            address, segment = (self.stack.get(self.depth + at) for at in (0, _WORD))
            self._report("return to segment", segment, instruction)
            self._report("return to address", address, instruction)
        else:
            self._forget(instruction)

    def _move(self, target: Operand, source: Operand, instruction: Instruction) -> None:
        self._into(target, self._value(source, instruction), instruction)

    def _into(self, target: Operand, value: KnownValue | None, instruction: Instruction) -> None:
        if isinstance(target, Memory):
            self._store(target, value, instruction)
        elif isinstance(target, Register):
            self._set(target, value, instruction)

    def _store(self, target: Memory, value: KnownValue | None, instruction: Instruction) -> None:
        if target.base == "rsp" and target.index is None:
            self._put(self.depth + target.displacement, value)
            return
        field = self._field(target, instruction)
        if field is not None and isinstance(value, System):
            self._report(f"store {value.name}", field, instruction)
        elif field is None and isinstance(value, Field):
            self._report(f"lend {target.displacement:+d}", value, instruction)

    def _set(self, target: Register, value: KnownValue | None, instruction: Instruction) -> None:
        if target.name == "rsp":
            self.stack.clear()
            self.depth = 0
        if target.name in _SYSTEM:
            self._report(f"load {target.name}", value, instruction)
        elif value is None:
            self.known.pop(target.whole, None)
        else:
            self.known[target.whole] = value

    def _calculate(self, target: Operand, source: Operand, instruction: Instruction) -> None:
        """Sums: of a field or a number and a number, and what ``rsp`` is moved by."""
        if not isinstance(target, Register):
            return
        parts: tuple[KnownValue | None, KnownValue | None]
        if instruction.mnemonic == "lea" and isinstance(source, Memory):
            if source.base == "rip":
                self._set(target, Code(instruction.end + source.displacement), instruction)
                return
            base = None if source.index else self._held(source.base)
            parts = base, Constant(source.displacement)
        else:
            number = self._value(source, instruction)
            if instruction.mnemonic == "sub":
                number = Constant(-number.number) if isinstance(number, Constant) else None
            parts = self._held(target.whole), number
        result = _sum(*parts)
        if target.name == "rsp" and isinstance(result, Constant):
            self.depth = result.number
        elif result is None:
            self._forget(instruction)
        else:
            self._set(target, result, instruction)

    def _held(self, register: str | None) -> KnownValue | None:
        return Constant(self.depth) if register == "rsp" else self.known.get(register or "")

    def _value(self, operand: Operand, instruction: Instruction) -> KnownValue | None:
        if isinstance(operand, Memory):
            return self._field(operand, instruction)
        if isinstance(operand, Register):
            if operand.name in _SYSTEM:
                return System(operand.name)
            return self.known.get(operand.whole)
        return Constant(operand.value)

    def _field(self, operand: Memory, instruction: Instruction) -> Field | None:
        """The field that ``operand`` is. A field used as a base is the state's other address."""
        base = self.known.get(operand.base or "")
        if operand.index is not None:
            return None
        if isinstance(base, Field) and base.size == _WORD and base.plus == 0:
            self._report("state address", base, instruction)
            for name in [register for register, held in self.known.items() if held == base]:
                self.known[name] = StateField()
        elif base != StateField():
            return None
        return Field(operand.displacement, operand.size)

    def _put(self, depth: int, value: KnownValue | None) -> None:
        if value is None:
            self.stack.pop(depth, None)
        else:
            self.stack[depth] = value

    def _forget(self, instruction: Instruction) -> None:
        for register in instruction.writes:
            self.known.pop(register, None)

    def _report(self, what: str, value: KnownValue | None, instruction: Instruction) -> None:
        if value is not None:
            self.events.append(Event(what, value, instruction.address))


def _sum(left: KnownValue | None, right: KnownValue | None) -> KnownValue | None:
    if isinstance(left, Constant):
        left, right = right, left
    if not isinstance(right, Constant):
        return None
    if isinstance(left, Constant):
        return Constant(left.number + right.number)
    if isinstance(left, Field):
        return Field(left.displacement, left.size, left.plus + right.number)
    return left if right.number == 0 else None
