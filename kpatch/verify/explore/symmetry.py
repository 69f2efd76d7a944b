"""Symmetry over CPUs, learned and checked.

A *family* is a table: for every choice of different CPUs (k, m, ...) one local state, or one value.
"The descriptor of CPU k's TSS, free" is a family of values over (k); "CPU k, before the lock" is a
family of local states over (k), because a local state always has its own CPU as its first index.

A step is *learned* when it is first met: every choice of CPUs for its names is run through the
program, and all the instances must agree in what they do: same kind of operation, same
cells, same properties violated, and results that form families again. An index on which a result
does not depend is dropped. If every step that the search ever takes passes this check, then
renaming the CPUs of a reachable state gives a state with the same future, renamed: the search may
keep one state of each class. If a check fails, nothing is assumed: :class:`SymmetryBrokenError`.

The sizes: a step with m names over n CPUs has n (n-1) ... (n-m+1) instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from math import perm
from typing import NamedTuple, TypeVar

from kpatch.units import counted
from kpatch.verify.explore.naming import GUEST, NamedLocal, NamedOutcome, NamedValue, Names
from kpatch.verify.explore.options import Budget
from kpatch.verify.explore.program import Cell, Local, Outcome, Pending, Program, Value

MAX_INSTANCES = 4096  # 16 * 15 * 14 = 3360: three names among 16 CPUs

Item = TypeVar("Item", Local, Value)
Learned = TypeVar("Learned")
FamilyTable = dict[Names, Item]  # CPU numbers, all different -> the member of the family


class SymmetryBrokenError(Exception):
    """The CPUs are not interchangeable, or not in a way that families can express.

    Never leaves this package: the exploration starts again without the reduction.
    """


class _Step(NamedTuple):
    """A step to learn, with names numbered by first appearance."""

    local: NamedLocal
    values: tuple[NamedValue, ...]


class SymmetricNaming:
    """Learns families of local states and values from the program's own answers."""

    def __init__(self, program: Program, budget: Budget) -> None:
        self.program = program
        self._budget = budget
        self._locals: list[FamilyTable[Local]] = []
        self._pending: list[Pending] = []
        self._known_locals: dict[tuple[int, Local], tuple[int, Names]] = {}
        self._values: list[FamilyTable[Value]] = []
        self._known_values: dict[tuple[Cell, Value], tuple[int, Names]] = {}
        self._steps: dict[_Step, NamedOutcome] = {}
        self._parks: dict[_Step, tuple[NamedLocal, NamedValue]] = {}
        self._resumes: dict[_Step, NamedLocal] = {}
        for cell, values in program.value_families():
            if len(values) != program.cpus:
                raise SymmetryBrokenError(f"a family of cell {cell} has {len(values)} members")
            self._value_family(cell, {(cpu,): value for cpu, value in enumerate(values)})

    def initial_locals(self) -> tuple[NamedLocal, ...]:
        """All CPUs start in one family."""
        table: FamilyTable[Local] = {
            (cpu,): self.program.initial(cpu) for cpu in range(self.program.cpus)
        }
        local = self._local_family(table)
        return (local,) * self.program.cpus

    def initial_memory(self) -> tuple[NamedValue, ...]:
        """Members of families where they are known, else constants."""
        memory = []
        for cell, value in enumerate(self.program.initial_memory()):
            known = self._known_values.get((cell, value))
            memory.append(known or self._value_family(cell, {(): value}))
        return tuple(memory)

    def pending(self, orbit: int) -> Pending:
        """What all members of the family do next."""
        return self._pending[orbit]

    def step(self, local: NamedLocal, reads: tuple[NamedValue, ...], count: int) -> NamedOutcome:
        """A step in names, learned if it is new."""
        key, used = self._normal(local, reads, count)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._learn_step(key, len(used))
        return NamedOutcome(
            _renamed(found.next, used),
            tuple((cell, _renamed(value, used)) for cell, value in found.writes),
            found.violations,
        )

    def park(self, local: NamedLocal, count: int) -> tuple[NamedLocal, NamedValue]:
        """Parking in names, learned if it is new."""
        key, used = self._normal(local, (), count)
        found = self._parks.get(key)
        if found is None:
            table = self._instances(key, len(used), lambda c, s, _: self.program.park(c, s))
            idle = self._local_family({cpus: result[0] for cpus, result in table.items()})
            guest = self._value_family(GUEST, {cpus: result[1] for cpus, result in table.items()})
            found = self._parks[key] = idle, guest
        return _renamed(found[0], used), _renamed(found[1], used)

    def resume(self, local: NamedLocal, guest: NamedValue, count: int) -> NamedLocal:
        """Resuming in names, learned if it is new."""
        key, used = self._normal(local, (guest,), count)
        found = self._resumes.get(key)
        if found is None:
            table = self._instances(
                key, len(used), lambda cpu, idle, v: self.program.resume(cpu, idle, v[0])
            )
            found = self._resumes[key] = self._local_family(table)
        return _renamed(found, used)

    def instances(self, names: int) -> Iterator[Names]:
        """Every choice of CPUs for so many names."""
        return permutations(range(self.program.cpus), names)

    def local(self, orbit: int, cpu: int, others: Names) -> Local:
        """The member of a family of local states."""
        return self._locals[orbit][(cpu, *others)]

    def value(self, orbit: int, cpus: Names) -> Value:
        """The member of a family of values."""
        return self._values[orbit][cpus]

    def _normal(
        self, local: NamedLocal, values: tuple[NamedValue, ...], count: int
    ) -> tuple[_Step, list[int]]:
        """The step with its names numbered by first appearance, and what they were before.

        With all CPUs but one named, the last one is known as well, and a family that had "the
        other one" dropped may name it again: it gets the last name.
        """
        used = [0]
        for _, names in (local, *values):
            used.extend(name for name in names if name not in used)
        if count == self.program.cpus == len(used) + 1:
            used.extend(set(range(count)).difference(used))
        number = {name: position for position, name in enumerate(used)}

        def normal(item: NamedValue) -> NamedValue:
            return item[0], tuple(number[name] for name in item[1])

        return _Step(normal(local), tuple(normal(value) for value in values)), used

    def _learn_step(self, key: _Step, names: int) -> NamedOutcome:
        table = self._instances(key, names, self.program.step)
        first = next(iter(table.values()))
        for cpus, outcome in table.items():
            if _deeds(outcome) != _deeds(first):
                label = self._pending[key.local[0]].label
                raise SymmetryBrokenError(f"{label}: CPU {cpus[0]} does not do what others do")
        writes = []
        for position, (cell, _) in enumerate(first.writes):
            values = {cpus: outcome.writes[position][1] for cpus, outcome in table.items()}
            writes.append((cell, self._value_family(cell, values)))
        next_local = self._local_family({cpus: outcome.next for cpus, outcome in table.items()})
        return NamedOutcome(next_local, tuple(writes), first.violations)

    def _instances(
        self, key: _Step, names: int, run: Callable[[int, Local, tuple[Value, ...]], Learned]
    ) -> dict[Names, Learned]:
        """What the program answers, for every choice of CPUs for the names."""
        cpus = self.program.cpus
        if perm(cpus, names) > MAX_INSTANCES:
            raise SymmetryBrokenError(f"one step involves {names} of {counted(cpus, 'CPU')}")
        orbit, others = key.local
        table = {}
        for chosen in self.instances(names):
            self._budget.check()
            local = self.local(orbit, chosen[0], tuple(chosen[name] for name in others))
            values = tuple(
                self.value(value, tuple(chosen[name] for name in names_of_value))
                for value, names_of_value in key.values
            )
            table[chosen] = run(chosen[0], local, values)
        return table

    def _local_family(self, table: FamilyTable[Local]) -> NamedLocal:
        known = {cpus: self._known_locals.get((cpus[0], local)) for cpus, local in table.items()}
        found = _same_family(known, "a local state")
        if found is not None:
            return found
        table, positions = _without_idle_indices(table, first=1)
        orbit = len(self._locals)
        self._locals.append(table)
        self._pending.append(self._common_pending(table))
        for cpus, local in table.items():
            here = (orbit, cpus[1:])
            if self._known_locals.setdefault((cpus[0], local), here) != here:
                raise SymmetryBrokenError("a local state stands for some CPUs, but not for all")
        return orbit, positions[1:]

    def _common_pending(self, table: FamilyTable[Local]) -> Pending:
        common: Pending | None = None
        for cpus, local in table.items():
            self._budget.check()
            pending = self.program.pending(cpus[0], local)
            common = common or pending
            if _demands(pending) != _demands(common):
                raise SymmetryBrokenError(
                    f"CPU {cpus[0]} is at {pending.label!r} where another is at {common.label!r}"
                )
        if common is None:
            raise SymmetryBrokenError("a family without members")
        return common

    def _value_family(self, cell: Cell, table: FamilyTable[Value]) -> NamedValue:
        known = {cpus: self._known_values.get((cell, value)) for cpus, value in table.items()}
        found = _same_family(known, f"a value of cell {cell}")
        if found is not None:
            return found
        table, positions = _without_idle_indices(table, first=0)
        orbit = len(self._values)
        self._values.append(table)
        for cpus, value in table.items():
            here = (orbit, cpus)
            if self._known_values.setdefault((cell, value), here) != here:
                raise SymmetryBrokenError(
                    f"a value of cell {cell} stands for some CPUs, but not for all"
                )
        return orbit, positions


def _renamed(item: NamedValue, used: list[int]) -> NamedValue:
    return item[0], tuple(used[name] for name in item[1])


def _deeds(outcome: Outcome) -> tuple[object, ...]:
    """What must be the same for all instances of a step, apart from states and values."""
    cells = tuple(cell for cell, _ in outcome.writes)
    return cells, tuple(violation.prop for violation in outcome.violations)


def _demands(pending: Pending) -> tuple[object, ...]:
    return pending.kind, pending.reads, pending.writes


def _same_family(known: Mapping[Names, tuple[int, Names] | None], what: str) -> NamedValue | None:
    """The family that all instances belong to, with its indices as positions among the names.

    None if no instance is known.
    """
    if all(member is None for member in known.values()):
        return None
    found: NamedValue | None = None
    for cpus, member in known.items():
        if member is None or not set(member[1]) <= set(cpus):
            raise SymmetryBrokenError(f"{what} names a CPU for some CPUs, but not for all")
        here = member[0], tuple(cpus.index(cpu) for cpu in member[1])
        found = found or here
        if here != found:
            raise SymmetryBrokenError(
                f"{what} is of one family for some CPUs, of another for others"
            )
    return found


def _without_idle_indices(table: FamilyTable[Item], first: int) -> tuple[FamilyTable[Item], Names]:
    """Drops every index, from ``first`` on, on which the members do not depend.

    Returns the smaller table and the positions that are left.
    """
    positions = tuple(range(len(next(iter(table)))))
    for position in reversed(positions[first:]):
        smaller: FamilyTable[Item] = {}
        if all(
            smaller.setdefault(cpus[:position] + cpus[position + 1 :], item) == item
            for cpus, item in table.items()
        ):
            table = smaller
            positions = positions[:position] + positions[position + 1 :]
    return table, positions
