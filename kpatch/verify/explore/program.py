"""The contract between the machine and the explorer: a concurrent program, seen from outside.

A program is a fixed number of CPUs over a few shared memory cells. Each CPU has a local state
that nobody else can see; the explorer knows it by an integer only. The explorer owns the memory,
the store buffers, the order of the steps and the pool of guests that wait for a CPU. The program
owns what one step does. It keeps no state between calls: every method is a pure function of its
arguments, so the explorer may ask in any order, and need never ask twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Cell = int  # index of a shared memory cell: a range of bytes that no access splits
Value = bytes  # contents of a cell, or the memory of a parked guest
Local = int  # an interned local state: same number, same CPU: the same state


class OpKind(Enum):
    """What a CPU will do next, as far as the other CPUs can tell."""

    PLAIN = "plain"
    """Loads, then stores, of the cells in ``reads`` and ``writes``; others may come in between.
    No cells: a local step."""
    LOCKED = "locked"
    """An atomic read-modify-write. Waits for its own store buffer, then acts on memory."""
    SERIALIZING = "serializing"
    """Like ``ltr`` or a fence. Waits for its own store buffer, then acts on memory."""
    PAUSE = "pause"
    """A yield. Touches no cell."""
    REST = "rest"
    """The end of a round, nothing pending, a further round remains."""
    DONE = "done"
    """The end of the last round of this guest."""
    IDLE = "idle"
    """A CPU without a guest (only where guests move). May take a parked one."""
    FAULT = "fault"
    """Stopped for good by a violation, which the step that led here has reported."""


@dataclass(frozen=True)
class Pending:
    """The operation that a CPU is about to perform.

    ``reads`` and ``writes`` say which cells it accesses; it must store to all of ``writes`` or,
    where it stores only sometimes, ``writes`` is the most that it may store to.
    ``label`` is for people: the instruction and its address.
    """

    kind: OpKind
    reads: tuple[Cell, ...] = ()
    writes: tuple[Cell, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Violation:
    """A property that does not hold: its name, and what was seen instead."""

    prop: str
    what: str


@dataclass(frozen=True)
class Outcome:
    """What one step did.

    The pending operation ran, then everything up to the next visible operation. ``writes`` are
    the stores of the pending operation, in order; they become visible to others at once and
    together (one aligned store that covers several cells is one store). ``trace`` gives the label
    of every instruction that ran: only a replay asks for them.
    """

    next: Local
    writes: tuple[tuple[Cell, Value], ...] = ()
    violations: tuple[Violation, ...] = ()
    trace: Iterable[str] = ()


class Program(Protocol):
    """What the explorer needs to know about a program.

    CPUs are numbered 0 to ``cpus`` - 1.
    """

    @property
    def cpus(self) -> int:
        """The number of CPUs, at least 1."""

    @property
    def moves(self) -> bool:
        """Whether guests may move: see :meth:`park`."""

    def initial_memory(self) -> tuple[Value, ...]:
        """The contents of every cell at the start. Its length is the number of cells."""

    def initial(self, cpu: int) -> Local:
        """The local state in which this CPU starts."""

    def pending(self, cpu: int, local: Local) -> Pending:
        """What this CPU will do next in this local state."""

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        """Runs the pending operation, which finds ``values`` in the cells of its ``reads``.

        Called for PLAIN, LOCKED, SERIALIZING and PAUSE; for REST (with no values: the next round
        begins on the same CPU) only where guests do not move. Never for DONE, IDLE and FAULT.
        """

    def park(self, cpu: int, local: Local) -> tuple[Local, Value]:
        """At REST or DONE, where guests move: the idle CPU, and the memory of the guest.

        A guest at REST goes to the pool, where any idle CPU may take it; the rounds that it still
        has to make are part of its memory. A guest at DONE has ended and is forgotten.
        """

    def resume(self, cpu: int, local: Local, guest: Value) -> Local:
        """The idle CPU takes a guest from the pool: the local state at the start of its round."""

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        """Values of a cell that name a CPU: for each family the cell, and one value for each CPU.

        Only those are needed that the initial memory contains or that cannot be learned from a
        step, such as *the busy descriptor of CPU k*. The values of a family are all equal or
        all different. A hint for symmetry reduction, which checks it; wrong or missing families
        make the reduction impossible, never unsound.
        """

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        """What is wrong with this memory when every CPU has finished, such as a held lock."""
