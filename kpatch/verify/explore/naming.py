"""Names instead of numbers: how the search speaks of local states and values.

The search never sees a program's local states or values. It sees *orbits* with references: "before
the lock, knows the TSS of CPU m" is one orbit, and m is a reference. Inside one step the
CPUs that are involved have *names*: 0 is the CPU that makes the step, 1, 2, ... are others, all
different. A naming translates a step from names to the program and back.

:class:`ConcreteNaming` is the one that reduces nothing: every local state of every CPU is an orbit
of its own. :class:`~kpatch.verify.explore.symmetry.SymmetricNaming` learns the symmetric ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from kpatch.verify.explore.program import Cell, Local, Pending, Program, Value, Violation

Names = tuple[int, ...]
NamedValue = tuple[int, Names]  # a value orbit, and the CPUs that it refers to
NamedLocal = tuple[int, Names]  # a local orbit, and the *other* CPUs that it refers to

GUEST: Cell = -1  # where the values of parked guests live


class NamedOutcome(NamedTuple):
    """An Outcome in names."""

    next: NamedLocal
    writes: tuple[tuple[Cell, NamedValue], ...]
    violations: tuple[Violation, ...]


class Naming(Protocol):
    """Translates between orbits with names and the program.

    ``count`` is the number of names in use at the caller; all CPUs have one when it equals the
    number of CPUs.
    """

    program: Program

    def initial_locals(self) -> tuple[NamedLocal, ...]:
        """The state of every CPU at the start."""

    def initial_memory(self) -> tuple[NamedValue, ...]:
        """Every cell at the start; here, names are CPU numbers."""

    def pending(self, orbit: int) -> Pending:
        """What a CPU does next in the local states of this orbit."""

    def step(self, local: NamedLocal, reads: tuple[NamedValue, ...], count: int) -> NamedOutcome:
        """Program.step, for CPU name 0."""

    def park(self, local: NamedLocal, count: int) -> tuple[NamedLocal, NamedValue]:
        """Program.park, for CPU name 0."""

    def resume(self, local: NamedLocal, guest: NamedValue, count: int) -> NamedLocal:
        """Program.resume, for CPU name 0."""

    def instances(self, names: int) -> Iterator[Names]:
        """Every choice of CPUs for so many names that the search takes to be the same."""

    def local(self, orbit: int, cpu: int, others: Names) -> Local:
        """The program's local state behind an orbit, for these CPU numbers."""

    def value(self, orbit: int, cpus: Names) -> Value:
        """The program's value behind an orbit, for these CPU numbers."""


class ConcreteNaming:
    """Every local state of every CPU, and every value, is an orbit of its own.

    No orbit refers to a CPU, with one exception: a hidden cell behind the last one holds a value
    that refers to all CPUs in order. It pins every CPU to its number, so that nothing is ever
    exchanged.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._locals: list[tuple[int, Local]] = []
        self._local_orbits: dict[tuple[int, Local], int] = {}
        self._values: list[Value] = []
        self._value_orbits: dict[Value, int] = {}
        self._steps: dict[tuple[int, Names], NamedOutcome] = {}

    def initial_locals(self) -> tuple[NamedLocal, ...]:
        """One orbit a CPU."""
        program = self.program
        return tuple(self._local(cpu, program.initial(cpu)) for cpu in range(program.cpus))

    def initial_memory(self) -> tuple[NamedValue, ...]:
        """The cells, and the hidden one."""
        cells = [self._value(value) for value in self.program.initial_memory()]
        hidden, _ = self._value(b"")
        return (*cells, (hidden, tuple(range(self.program.cpus))))

    def pending(self, orbit: int) -> Pending:
        """What this CPU does next."""
        return self.program.pending(*self._locals[orbit])

    def step(self, local: NamedLocal, reads: tuple[NamedValue, ...], count: int) -> NamedOutcome:
        """One step, asked for once; the names do not matter."""
        key = local[0], tuple(orbit for orbit, _ in reads)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._first_step(*key)
        return found

    def park(self, local: NamedLocal, count: int) -> tuple[NamedLocal, NamedValue]:
        """The guest leaves its CPU."""
        cpu, number = self._locals[local[0]]
        idle, guest = self.program.park(cpu, number)
        return self._local(cpu, idle), self._value(guest)

    def resume(self, local: NamedLocal, guest: NamedValue, count: int) -> NamedLocal:
        """A guest comes to this CPU."""
        cpu, number = self._locals[local[0]]
        return self._local(cpu, self.program.resume(cpu, number, self._values[guest[0]]))

    def instances(self, names: int) -> Iterator[Names]:
        """Only the one: nothing is taken to be the same."""
        return iter((tuple(range(names)),))

    def local(self, orbit: int, cpu: int, others: Names) -> Local:
        """The program's number."""
        return self._locals[orbit][1]

    def value(self, orbit: int, cpus: Names) -> Value:
        """The program's value."""
        return self._values[orbit]

    def _first_step(self, orbit: int, reads: Names) -> NamedOutcome:
        cpu, number = self._locals[orbit]
        outcome = self.program.step(cpu, number, tuple(self._values[read] for read in reads))
        return NamedOutcome(
            self._local(cpu, outcome.next),
            tuple((cell, self._value(value)) for cell, value in outcome.writes),
            outcome.violations,
        )

    def _local(self, cpu: int, local: Local) -> NamedLocal:
        orbit = self._local_orbits.setdefault((cpu, local), len(self._locals))
        if orbit == len(self._locals):
            self._locals.append((cpu, local))
        return orbit, ()

    def _value(self, value: Value) -> NamedValue:
        orbit = self._value_orbits.setdefault(value, len(self._values))
        if orbit == len(self._values):
            self._values.append(value)
        return orbit, ()
