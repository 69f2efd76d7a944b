"""One instruction on a way that some pairs go, with every bit that comes from the pair exact.

On such a way (:mod:`kpatch.verify.world.ways`) the instructions that programs decide by are
calculated to the last bit, for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

from kpatch.isa.effects import FLAG_NAMES, Effects
from kpatch.isa.instruction import (
    REGISTERS,
    Immediate,
    Instruction,
    Memory,
    Operand,
    Register,
)
from kpatch.verify.world.bitwise import Calculated, Vector, constant
from kpatch.verify.world.origins import PAIR, PLACES, Byte, Bytes, Machine, number
from kpatch.verify.world.places import Places
from kpatch.verify.world.sinks import stored_to
from kpatch.verify.world.transfer import Transfer
from kpatch.verify.world.ways import OneWay, Same

_TABLES: Final = frozenset({"str", "sldt", "sgdt", "sidt"})
_MOVES: Final = frozenset({
    "mov", "movabs", "movzx", "push", "pop", "xchg", "leave", "nop", "call", "ret", "jmp", *_TABLES,
})  # fmt: skip
_BIT_TESTS: Final = frozenset({"bt", "bts", "btr", "btc"})
_EXTENSIONS: Final = frozenset({"movsx", "movsxd"})
_FLAGS_OF: Final = {
    "o": ("OF",), "b": ("CF",), "e": ("ZF",), "be": ("CF", "ZF"), "s": ("SF",), "p": ("PF",),
    "l": ("SF", "OF"), "le": ("SF", "OF", "ZF"),
}  # fmt: skip
_OPPOSITE: Final = {
    "no": "o", "ae": "b", "ne": "e", "a": "be", "ns": "s", "np": "p", "ge": "l", "g": "le",
}  # fmt: skip
_BY_CONDITION: Final = tuple(_FLAGS_OF | _OPPOSITE)


class Deciding(Transfer):
    """One instruction of the patch on such a way."""

    def __init__(
        self,
        places: Places,
        way: OneWay,
        instruction: Instruction,
        effects: Effects,
        same: Same,
        *,
        patch: bool,
    ) -> None:
        super().__init__(places, way, instruction, effects, kernel=True, patch=patch)
        self._same = same
        self._now = way
        self.way = way.copy()
        self.after = self.way

    @property
    def is_possible(self) -> bool:
        """Whether it may be run here: it changes nothing but registers, flags, the stack and the
        state, faults on no pair, and reads nothing that another CPU may write.
        """
        name = self.mnemonic
        plain = name == self.instruction.mnemonic  # without LOCK and REP
        if not plain or not (name in _MOVES or name in _EXACT or self._suffix is not None):
            return False
        if number(self.before.registers["rsp"]) is None:
            return False
        if any(
            isinstance(operand, Register) and operand.name not in REGISTERS
            for operand in self.instruction.operands
        ):
            return False
        stored = stored_to(self)
        return all(self._is_own(operand, operand in stored) for operand in self.memory_operands())

    def _is_own(self, operand: Memory, stored: bool) -> bool:
        at, size = self.address(operand), operand.size or 8
        if at is None or self.mnemonic in _BIT_TESTS:
            return False
        if operand.segment == "gs":
            pair = self._places.pair
            return not stored and at in pair and at + size - 1 in pair
        size = 10 if self.mnemonic in _TABLES else size
        return operand.segment is None and all(self._places.is_tracked(at + n) for n in range(size))

    @property
    def _suffix(self) -> str | None:
        """The condition of a jump, a move or a set."""
        for kind in ("cmov", "set", "j"):
            if self.mnemonic.removeprefix(kind) in _BY_CONDITION and self.mnemonic.startswith(kind):
                return self.mnemonic.removeprefix(kind)
        return None

    def condition(self) -> int | None:
        """For which pairs the condition holds; None if that is no function of the pair."""
        suffix = self._suffix
        if suffix is None:
            return None
        positive = _OPPOSITE.get(suffix, suffix)
        flags = [self._now.conditions.get(name) for name in _FLAGS_OF[positive]]
        values = [flag() for flag in flags if flag is not None]
        if len(values) < len(flags):
            return None
        diagrams = self._same.diagrams
        if "SF" in _FLAGS_OF[positive] and len(values) > 1:
            values[:2] = [diagrams.unlike(*values[:2])]
        found = reduce(diagrams.either, values)
        return diagrams.opposite(found) if suffix in _OPPOSITE else found

    def run(self) -> Machine:
        """The state behind it, control flow apart."""
        outcome = self._outcome()
        for bit, name in enumerate(FLAG_NAMES):
            if self.effects.flags_changed >> bit & 1:
                self.way.conditions.pop(name, None)
        if outcome is None:
            return super().run()
        if outcome.result is not None:
            self.store(self.instruction.operands[0], _bytes(outcome.result))
        self.way.conditions.update(outcome.flags)
        self._flags()
        return self.after

    def store(self, operand: Operand, value: Bytes) -> None:
        """Put ``value`` into an operand. What a system register holds is the same on all ways."""
        if self.mnemonic in _TABLES:
            value = self._same.tables.setdefault(self.instruction.address, value)
        super().store(operand, value)

    def _load(self, operand: Memory) -> Bytes:
        at = self.address(operand)
        if operand.segment != "gs" or at is None:
            return super()._load(operand)
        first = 8 * (at - self._places.pair.start)
        return _bytes(self._same.pair[first : first + 8 * operand.size])

    def _byte(self, address: int) -> Byte:
        found = super()._byte(address)
        if address in self.before.memory:
            return found
        return self._same.bytes.setdefault(address, found)

    def vector(self, operand: Operand) -> Vector | None:
        """An operand as functions of the pair; None if it is none. Immediates have 64 bits."""
        if isinstance(operand, Immediate):
            return constant(operand.value % (1 << 64), 64)
        found: list[int] = []
        for byte in self.value(operand):
            if byte.bits:
                found += byte.bits
            elif byte.number is None or byte.origins - PLACES:
                return None
            else:
                found += constant(byte.number, 8)
        return tuple(found)

    def _outcome(self) -> Calculated | None:
        """What it makes of functions of the pair; None if that is none, or a plain move."""
        operands, name = self.instruction.operands, self.mnemonic
        if self._suffix is not None and not self.instruction.is_branch:
            return self._conditional(operands)
        calculate = _EXACT.get(name)
        if calculate is None:
            return None
        if name == "lea":
            return self._sum_of_address(operands[1])
        if name in ("xor", "sub", "sbb") and operands[0] == operands[1]:
            vectors: list[Vector | None] = [constant(0, 8 * operands[0].size)] * 2
        else:
            read = operands[1:] if name in _EXTENSIONS or len(operands) == 3 else operands
            vectors = [self.vector(operand) for operand in read]
        known = [vector for vector in vectors if vector is not None]
        return calculate(self, known) if len(known) == len(vectors) else None

    def _conditional(self, operands: tuple[Operand, ...]) -> Calculated | None:
        test = self.condition()
        if test is None:
            return None
        if len(operands) == 1:
            return Calculated((test, *constant(0, 7)), {})
        no, yes = map(self.vector, operands)
        if no is None or yes is None:
            return None
        return Calculated(self._same.bits.select(test, yes, no), {})

    def _sum_of_address(self, source: Operand) -> Calculated | None:
        if not isinstance(source, Memory) or self.address(source) is not None:
            return None
        total = constant(source.displacement % (1 << 64), 64)
        for name, scale in ((source.base, 1), (source.index, source.scale)):
            if name is None or name == "riz":
                continue
            whole, width = REGISTERS.get(name, (name, 0))
            vector = self.vector(Register(name, whole, width)) if width == 8 else None
            if vector is None:
                return None
            zeros = constant(0, scale.bit_length() - 1)
            total = self._same.bits.add(total, (*zeros, *vector)[:64]).result or total
        return Calculated(total[: 8 * self.instruction.operands[0].size], {})

    def _two(self, vectors: list[Vector]) -> Calculated | None:
        one, other = vectors[0], vectors[-1][: len(vectors[0])]
        bits, name = self._same.bits, self.mnemonic
        if name in ("and", "or", "xor", "test"):
            return bits.logic(name, one, other)
        if name == "cmp":
            return bits.compare(one, other)
        carry = self._now.conditions.get("CF") if name in ("adc", "sbb") else lambda: 0
        if carry is None:
            return None
        operation = bits.add if name in ("add", "adc") else bits.subtract
        return operation(one, other, carry())

    def _one(self, vectors: list[Vector]) -> Calculated:
        bits, (one,) = self._same.bits, vectors
        zero, unit = (constant(value, len(one)) for value in (0, 1))
        if self.mnemonic == "not":
            return Calculated(bits.complement(one), {})
        if self.mnemonic == "neg":
            return bits.subtract(zero, one)
        operation = bits.add if self.mnemonic == "inc" else bits.subtract
        result, flags = operation(one, unit)
        # SDM vol. 2, INC: CF is not affected.
        return Calculated(result, {name: flag for name, flag in flags.items() if name != "CF"})

    def _shift(self, vectors: list[Vector]) -> Calculated:
        one, count = vectors[0], (*vectors[1:], constant(1, 8))[0]
        return self._same.bits.shift(self.mnemonic, one, count[: 6 if len(one) == 64 else 5])

    def _bit_test(self, vectors: list[Vector]) -> Calculated:
        one, index = vectors
        return self._same.bits.bit_test(self.mnemonic, one, index[: len(one).bit_length() - 1])

    def _product(self, vectors: list[Vector]) -> Calculated | None:
        if len(vectors) == 1:
            return None
        width = len(vectors[0])
        one, other = (vector[:width] for vector in vectors)
        if not _is_constant(other):
            one, other = other, one
        if not _is_constant(other):
            return None
        return self._same.bits.multiply(one, sum(bit << at for at, bit in enumerate(other)))

    def _extended(self, vectors: list[Vector]) -> Calculated:
        width, source = 8 * self.instruction.operands[0].size, vectors[0]
        return Calculated((*source, *(source[-1],) * width)[:width], {})


def _is_constant(vector: Vector) -> bool:
    return all(bit in (0, 1) for bit in vector)


def _bytes(vector: Vector) -> Bytes:
    """The bytes of functions of the pair."""
    found = []
    for at in range(0, len(vector), 8):
        bits = vector[at : at + 8]
        if _is_constant(bits):
            found.append(Byte(sum(bit << n for n, bit in enumerate(bits))))
        else:
            found.append(Byte(None, PAIR, bits))
    return tuple(found)


_EXACT: Final[Mapping[str, Callable[[Deciding, list[Vector]], Calculated | None]]] = {
    **dict.fromkeys(("add", "adc", "sub", "sbb", "cmp", "and", "or", "xor", "test"), Deciding._two),
    **dict.fromkeys(("inc", "dec", "neg", "not"), Deciding._one),
    **dict.fromkeys(("shl", "sal", "shr", "sar", "rol", "ror"), Deciding._shift),
    **dict.fromkeys(_BIT_TESTS, Deciding._bit_test),
    **dict.fromkeys(_EXTENSIONS, Deciding._extended),
    "imul": Deciding._product,
    "lea": Deciding._extended,
}
"""Mnemonic -> what calculates it."""
