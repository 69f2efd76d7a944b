"""What a CPU makes of two numbers, with each bit as a function of the bits of a pair.

A vector is the nodes of its bits, the lowest first (:mod:`kpatch.verify.world.diagrams`). What an
instruction makes of vectors is an :class:`Calculated`, as the SDM has it in volume 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final, NamedTuple

from kpatch.verify.world.diagrams import Diagrams

Vector = tuple[int, ...]
Condition = Callable[[], int]
"""A flag. It is calculated if somebody asks: few do."""


class Calculated(NamedTuple):
    """The result, None where nothing is written, and the flags that are known."""

    result: Vector | None
    flags: Mapping[str, Condition]


_NO_FLAGS: Final[Mapping[str, Condition]] = {}


def constant(number: int, width: int) -> Vector:
    """A number as a vector."""
    return tuple(number >> at & 1 for at in range(width))


class Bitwise:
    """The operations. Vectors of one operation have one width, unless it says otherwise."""

    def __init__(self, diagrams: Diagrams) -> None:
        self.diagrams = diagrams

    def add(self, one: Vector, other: Vector, carry: int = 0) -> Calculated:
        """ADD, and with ``carry`` ADC."""
        result, carries = self._added(one, other, carry)
        top, out = carries[-2:]
        return Calculated(
            result,
            {
                **self._signs(result),
                "CF": lambda: out,
                "OF": lambda: self.diagrams.unlike(top, out),
            },
        )

    def subtract(self, one: Vector, other: Vector, borrow: int = 0) -> Calculated:
        """SUB, and with ``borrow`` SBB."""
        result = self._difference(one, other, borrow)[0]
        return Calculated(result, {**self.compare(one, other, borrow).flags, **self._signs(result)})

    def compare(self, one: Vector, other: Vector, borrow: int = 0) -> Calculated:
        """CMP: without the difference, which takes many nodes."""
        opposite, unlike = self.diagrams.opposite, self.diagrams.unlike

        def signs(name: str) -> Condition:
            return lambda: self._signs(self._difference(one, other, borrow)[0])[name]()

        def carries() -> tuple[int, int]:
            top, out = self._difference(one, other, borrow)[1][-2:]
            return top, out

        flags = {
            "ZF": lambda: self.equal(one, other),
            "SF": signs("SF"),
            "PF": signs("PF"),
            "CF": lambda: opposite(carries()[1]),
            "OF": lambda: unlike(*carries()),
        }
        return Calculated(None, flags)

    def logic(self, operation: str, one: Vector, other: Vector) -> Calculated:
        """AND, OR, XOR, and TEST, which writes nothing."""
        diagrams = self.diagrams
        function = {"or": diagrams.either, "xor": diagrams.unlike}.get(operation, diagrams.both)
        result = tuple(map(function, one, other))
        flags = {**self._signs(result), "CF": lambda: 0, "OF": lambda: 0}
        return Calculated(None if operation == "test" else result, flags)

    def complement(self, one: Vector) -> Vector:
        """NOT."""
        return tuple(map(self.diagrams.opposite, one))

    def shift(self, operation: str, one: Vector, count: Vector) -> Calculated:
        """SHL, SHR, SAR, ROL, ROR. ``count`` has the bits that count: five, or six of 64."""
        result = one
        for power, bit in enumerate(count):
            moved = _moved(operation, result, 1 << power)
            result = tuple(
                self.diagrams.choice(bit, yes, no) for yes, no in zip(moved, result, strict=True)
            )
        certain = any(bit == 1 for bit in count) and operation.startswith("s")
        return Calculated(result, self._signs(result) if certain else _NO_FLAGS)

    def bit_test(self, operation: str, one: Vector, index: Vector) -> Calculated:
        """BT, BTS, BTR, BTC. ``index`` has the bits that count."""
        diagrams = self.diagrams
        places = [self.equal(index, constant(at, len(index))) for at in range(len(one))]
        found = reduce(diagrams.either, map(diagrams.both, places, one))
        change = {"bts": lambda _: 1, "btr": lambda _: 0, "btc": diagrams.opposite}.get(operation)
        result = (
            tuple(
                diagrams.choice(here, change(bit), bit)
                for here, bit in zip(places, one, strict=True)
            )
            if change
            else None
        )
        return Calculated(result, {"CF": lambda: found})

    def multiply(self, one: Vector, number: int) -> Calculated:
        """IMUL by a constant, as far as the result goes."""
        width = len(one)
        result = constant(0, width)
        for at in range(width):
            if number >> at & 1:
                result = self._added(result, (*(0,) * at, *one)[:width], 0)[0]
        return Calculated(result, _NO_FLAGS)

    def select(self, test: int, yes: Vector, no: Vector) -> Vector:
        """CMOV."""
        return tuple(self.diagrams.choice(test, a, b) for a, b in zip(yes, no, strict=True))

    def equal(self, one: Vector, other: Vector) -> int:
        """Whether two vectors are alike."""
        found = 1
        for a, b in zip(one, other, strict=True):
            found = self.diagrams.choice(self.diagrams.unlike(a, b), 0, found)
        return found

    def _added(self, one: Vector, other: Vector, carry: int) -> tuple[Vector, list[int]]:
        """The sum, and the carry into each bit, and out of the last."""
        diagrams = self.diagrams
        carries, result = [carry], []
        for a, b in zip(one, other, strict=True):
            unlike = diagrams.unlike(a, b)
            result.append(diagrams.unlike(unlike, carries[-1]))
            carries.append(diagrams.choice(unlike, carries[-1], a))
        return tuple(result), carries

    def _difference(self, one: Vector, other: Vector, borrow: int) -> tuple[Vector, list[int]]:
        return self._added(one, self.complement(other), self.diagrams.opposite(borrow))

    def _signs(self, result: Vector) -> dict[str, Condition]:
        return {
            "ZF": lambda: self.equal(result, constant(0, len(result))),
            "SF": lambda: result[-1],
            "PF": lambda: self.diagrams.opposite(reduce(self.diagrams.unlike, result[:8])),
        }


def _moved(operation: str, one: Vector, by: int) -> Vector:
    """By a constant; nothing of a shift is left beyond the width."""
    width = len(one)
    if operation in ("rol", "ror"):
        at = (by if operation == "ror" else -by) % width
        return (*one[at:], *one[:at])
    filling = (one[-1] if operation == "sar" else 0,) * min(by, width)
    if operation in ("shl", "sal"):
        return (*filling, *one[: width - len(filling)])
    return (*one[len(filling) :], *filling)
