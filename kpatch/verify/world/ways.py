"""Ways through a patch, each with the pairs that go it.

A pair is what stands where a CPU's number and its mask are expected: 64 bits, and any of them. On a
way every bit that comes from the pair is known as a function of it
(:mod:`kpatch.verify.world.diagrams`). What else is moved about keeps its identity: on two ways a
:class:`~kpatch.verify.world.origins.Byte` is one value if it is one object.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kpatch.verify.world.bitwise import Bitwise, Condition, Vector
from kpatch.verify.world.diagrams import WIDTH, Diagrams
from kpatch.verify.world.origins import Byte, Bytes, Machine


@dataclass
class OneWay(Machine):
    """What is known of a CPU on one way: ``pairs`` go it. ``conditions`` are the flags that are
    functions of the pair.
    """

    pairs: int = 1
    conditions: dict[str, Condition] = field(default_factory=dict)

    def copy(self) -> OneWay:
        """Another one, to be changed apart."""
        return OneWay(
            dict(self.registers),
            dict(self.flags),
            dict(self.memory),
            self.saved,
            self.pairs,
            dict(self.conditions),
        )


class Same:
    """What is the same on all ways: the functions, and bytes that one way has found."""

    def __init__(self, diagrams: Diagrams) -> None:
        self.diagrams = diagrams
        self.bits = Bitwise(diagrams)
        self.pair: Vector = tuple(map(diagrams.bit, range(WIDTH)))
        self.strange = diagrams.opposite(_known(diagrams))
        """All pairs but those of a CPU's number and its mask."""
        self.tables: dict[int, Bytes] = {}
        self.bytes: dict[int, Byte] = {}


def beginning(machine: Machine, pairs: int) -> OneWay:
    """A way that begins there; no two bytes of its registers and its memory are the same."""
    registers = {
        name: tuple(Byte(*byte) for byte in held) for name, held in machine.registers.items()
    }
    memory = {at: Byte(*byte) for at, byte in machine.memory.items()}
    return OneWay(registers, dict(machine.flags), memory, machine.saved, pairs)


def _known(diagrams: Diagrams) -> int:
    """The pairs of a CPU's number and its mask."""
    found = 0
    for number in range(WIDTH // 2):
        found = diagrams.either(diagrams.only(number | 1 << WIDTH // 2 + number), found)
    return found
