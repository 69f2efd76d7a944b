"""CPUs, memories and parked guests as small integers, apart from the CPUs they refer to.

A *shape* is a CPU's local orbit and its store buffer, where the CPUs that they refer to are
numbered by first appearance: 0 is the CPU itself, 1, 2, ... are its *links*. In the same way a
memory, or a guest, has its references numbered from 0.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from kpatch.verify.explore.naming import NamedLocal, NamedValue, Names, Naming
from kpatch.verify.explore.program import Cell, OpKind

Group = tuple[tuple[Cell, NamedValue], ...]  # the stores of one operation


class ShapeKind(Enum):
    """What a shape means to the search."""

    RUNNING = 0
    ENDED = 1
    """DONE with an empty buffer; where guests move, IDLE."""
    FAULT = 2


class Cpu(NamedTuple):
    """One CPU in names: itself is 0."""

    local: NamedLocal
    buffer: tuple[Group, ...] = ()


class Shapes:
    """The tables. A number is an index into the list of its kind."""

    def __init__(self, naming: Naming) -> None:
        self.naming = naming
        self.cpus: list[Cpu] = []
        self.links: list[int] = []
        self.any_links = False  # some shape or some guest has links
        self.phases: list[ShapeKind] = []
        self.memories: list[tuple[NamedValue, ...]] = []
        self.memory_links: list[int] = []
        self.guests: list[NamedValue] = []
        self.guest_links: list[int] = []
        self._cpu_numbers: dict[Cpu, int] = {}
        self._memory_numbers: dict[tuple[NamedValue, ...], int] = {}
        self._guest_numbers: dict[NamedValue, int] = {}

    def kind(self, shape: int) -> OpKind:
        """What a CPU of this shape does next."""
        return self.naming.pending(self.cpus[shape].local[0]).kind

    def of_cpu(self, cpu: Cpu) -> tuple[int, Names]:
        """The number of a shape, and the names of the CPUs it refers to, other than itself."""
        marks = _Marks((0,))
        shape = Cpu(
            (cpu.local[0], marks.of(cpu.local[1])),
            tuple(
                tuple((cell, (orbit, marks.of(names))) for cell, (orbit, names) in group)
                for group in cpu.buffer
            ),
        )
        number = self._cpu_numbers.setdefault(shape, len(self.cpus))
        if number == len(self.cpus):
            self.cpus.append(shape)
            self.links.append(len(marks.names) - 1)
            self.any_links |= len(marks.names) > 1
            self.phases.append(self._phase(shape))
        return number, marks.names[1:]

    def of_memory(self, cells: tuple[NamedValue, ...]) -> tuple[int, Names]:
        """The number of a memory, and the names of the CPUs it refers to."""
        marks = _Marks(())
        memory = tuple((orbit, marks.of(names)) for orbit, names in cells)
        number = self._memory_numbers.setdefault(memory, len(self.memories))
        if number == len(self.memories):
            self.memories.append(memory)
            self.memory_links.append(len(marks.names))
        return number, marks.names

    def of_guest(self, guest: NamedValue) -> tuple[int, Names]:
        """The number of a parked guest, and the names of the CPUs it refers to."""
        marks = _Marks(())
        value = guest[0], marks.of(guest[1])
        number = self._guest_numbers.setdefault(value, len(self.guests))
        if number == len(self.guests):
            self.guests.append(value)
            self.guest_links.append(len(marks.names))
            self.any_links |= len(marks.names) > 0
        return number, marks.names

    def _phase(self, shape: Cpu) -> ShapeKind:
        kind = self.naming.pending(shape.local[0]).kind
        if kind is OpKind.FAULT:
            return ShapeKind.FAULT
        ended = OpKind.IDLE if self.naming.program.moves else OpKind.DONE
        return ShapeKind.ENDED if kind is ended and not shape.buffer else ShapeKind.RUNNING


class _Marks:
    """Numbers the names that occur, in order of first appearance."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def of(self, names: Names) -> Names:
        """The numbers of these names."""
        self.names += tuple(name for name in names if name not in self.names)
        return tuple(self.names.index(name) for name in names)
