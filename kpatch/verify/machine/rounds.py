"""Any number of rounds: what a round leaves behind is where the next one begins.

A scenario has one round or two. Where they leave the patch's own memory as they found it,
there is nothing else for later ones to find. Where they do not (Peterson's turn, the queue nodes of
MCS), the scenario is explored again from what was left, until nothing new is left: a fixed
point. Every one of these explorations has to be proven.

What nobody reads before somebody has written it cannot make a difference. So a byte that is left
different is at first taken to be *unknown* at the start of later rounds: an exploration in which no
step reads it is true of every value. A byte that is read is known from then on, and all its values
are tried. Counters, which never come to an end, are
:mod:`kpatch.verify.machine.counters`.

That is about rounds which begin when all earlier ones are over. A CPU that waits may see another
one make any number of them meanwhile. So the scenarios of two rounds in which guests stay, and
those of an unknown struct pcpu, are explored once more, with rounds without end, and that has to
come to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Final

from kpatch.units import counted
from kpatch.verify.explore.bound import Bound, BoundKind
from kpatch.verify.explore.program import Cell, Local, Outcome, Pending, Program, Value, Violation
from kpatch.verify.explore.result import Answer, Result
from kpatch.verify.machine.cells import CellRange, StartBytes
from kpatch.verify.machine.counters import Counters, counters_in, only_counts
from kpatch.verify.machine.program import UnicornProgram
from kpatch.verify.machine.scenarios import ENDLESS
from kpatch.verify.machine.setup import Setup

MOST_STARTS: Final = 32
"""Ways to leave the patch's memory. A patch with more has a memory of its own, and is no lock."""

MOST_ENDLESS: Final = 6_000
"""States of an exploration of rounds without end. A simple lock has less than a hundred."""

_MOST_UNKNOWN: Final = 4
"""CPUs of an unknown struct pcpu that make rounds without end."""

_LATER: Final = " (in a later round, which begins with what earlier ones left in memory)"

PhysicalBytes = frozenset[tuple[int, int]]  # physical address, contents
Explore = Callable[[Program], Result]


def explore_rounds(
    setup: Setup, explore: Explore, briefly: Explore, most_starts: int = MOST_STARTS
) -> tuple[Result, Setup]:
    """The result for any number of rounds, and the set-up in which its counterexamples replay.

    ``briefly`` explores up to :data:`MOST_ENDLESS` states: who waits and counts what the others do
    may never come to an end. ``most_starts`` is how many ways to leave the patch's memory are
    followed.
    """
    result, where, counters = _one_after_the_other(setup, explore, most_starts)
    tried = result.verdict is Answer.PROVEN and _is_tried_without_end(setup)
    if not tried or (counters and counters.are_read):
        return result, where
    still = counters.cells if counters else frozenset()
    endless = replace(setup, scenario=replace(setup.scenario, rounds=ENDLESS))
    found = endless.with_program(lambda program: briefly(_Still(program, endless, still)))
    if found.bound and found.bound.kind is BoundKind.STATES:
        found = _bound(found, BoundKind.STATES, f"rounds without end: {found.bound}")
    if found.verdict is Answer.PROVEN and counters and counters_in(endless, still) != counters:
        found = _bound(found, BoundKind.NOT_FOLLOWED, "rounds without end: a counter that is read")
    return _added(result, found), setup if found.verdict is Answer.PROVEN else endless


def _is_tried_without_end(setup: Setup) -> bool:
    """One scenario for each kind of host and of struct pcpu: code may wait otherwise on each.

    Where no CPU is known, each makes states of its own, and one other is enough to lose against.
    """
    scenario = setup.scenario
    if scenario.moves or scenario.one_cpu:
        return False
    return scenario.rounds > 1 if scenario.layout_known else setup.cpus <= _MOST_UNKNOWN


def _one_after_the_other(
    setup: Setup, explore: Explore, most_starts: int
) -> tuple[Result, Setup, Counters | None]:
    """The result and its set-up for rounds that begin when all others are over; and the counters
    that they leave.
    """
    result = setup.with_program(explore)
    unknown: frozenset[int] | None = None
    while result.verdict is Answer.PROVEN:
        left = _left(setup, result)
        if not left:
            break
        if counters := only_counts(setup, left):
            return result, setup, counters
        if unknown is None:
            unknown = frozenset(address for leftover in left for address, _ in leftover)
        try:
            return (*_fixed_point(setup, explore, result, unknown, most_starts), None)
        except _UnknownReadError as read:
            unknown -= read.addresses
    return result, setup, None


def _bound(result: Result, kind: BoundKind, text: str) -> Result:
    """Not proven, for this bound."""
    return replace(result, verdict=Answer.NOT_PROVEN, bound=Bound(kind, text))


def _added(result: Result, found: Result) -> Result:
    """What ``found`` says, and the work of both."""
    return replace(
        found,
        states=result.states + found.states,
        transitions=result.transitions + found.transitions,
        merged=result.merged + found.merged,
        final_states=result.final_states + found.final_states,
        seconds=result.seconds + found.seconds,
        counterexamples=tuple(
            replace(counterexample, what=f"{counterexample.what}{_LATER}")
            for counterexample in found.counterexamples
        ),
    )


def _fixed_point(
    setup: Setup, explore: Explore, result: Result, unknown: frozenset[int], most_starts: int
) -> tuple[Result, Setup]:
    """Explore from everything that is left. Raises _UnknownReadError."""
    done: set[PhysicalBytes] = set()
    todo = list(_known(setup, result, unknown))
    while todo:
        start = todo.pop()
        if start in done:
            continue
        if len(done) == most_starts:
            text = f"rounds: the patch's memory is left in more than {counted(most_starts, 'way')}"
            return _bound(result, BoundKind.STARTS, text), setup
        done.add(start)
        later = replace(setup, start=tuple((at, bytes((byte,))) for at, byte in sorted(start)))
        found = later.with_program(lambda program: explore(_Forgetful(program, setup, unknown)))
        result = _added(result, found)
        if found.verdict is not Answer.PROVEN:
            return result, later
        todo.extend(_known(setup, result, unknown))
    return result, setup


def _known(setup: Setup, result: Result, unknown: frozenset[int]) -> set[PhysicalBytes]:
    """What is left of shared memory, but for what is unknown."""
    starts = set()
    for memory in result.final_memories:
        left = _bytes(setup.left(memory))
        if _changed(setup, left):
            starts.add(frozenset(byte for byte in left if byte[0] not in unknown))
    return starts


def _left(setup: Setup, result: Result) -> set[PhysicalBytes]:
    """Each way in which the patch's own memory is left other than it was: the bytes that differ."""
    left = (_changed(setup, _bytes(setup.left(memory))) for memory in result.final_memories)
    return {leftover for leftover in left if leftover}


def _changed(setup: Setup, left: PhysicalBytes) -> PhysicalBytes:
    return frozenset(
        (at, byte) for at, byte in left if (setup.loaded_at(at, 1) or bytes((byte,)))[0] != byte
    )


def _bytes(start: StartBytes) -> PhysicalBytes:
    return frozenset((at + index, byte) for at, data in start for index, byte in enumerate(data))


class _UnknownReadError(Exception):
    """A step reads what earlier rounds have left. Never leaves this module."""

    def __init__(self, addresses: frozenset[int]) -> None:
        super().__init__(addresses)
        self.addresses = addresses


class _Wrapped:
    """The program as it is."""

    def __init__(self, program: UnicornProgram) -> None:
        self._program = program
        self._memory = program.initial_memory()

    @property
    def cpus(self) -> int:
        """The number of CPUs."""
        return self._program.cpus

    @property
    def moves(self) -> bool:
        """Whether guests move."""
        return self._program.moves

    def initial_memory(self) -> tuple[Value, ...]:
        """The cells."""
        return self._memory

    def initial(self, cpu: int) -> Local:
        """The CPU at its start."""
        return self._program.initial(cpu)

    def pending(self, cpu: int, local: Local) -> Pending:
        """What it does next."""
        return self._program.pending(cpu, local)

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        """What a step does."""
        return self._program.step(cpu, local, values)

    def park(self, cpu: int, local: Local) -> tuple[Local, Value]:
        """The CPU without its guest, and the guest."""
        return self._program.park(cpu, local)

    def resume(self, cpu: int, local: Local, guest: Value) -> Local:
        """The CPU with that guest."""
        return self._program.resume(cpu, local, guest)

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        """Values that name a CPU."""
        return self._program.value_families()

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        """What is wrong at the end."""
        return self._program.final_violations(memory)


class _Forgetful(_Wrapped):
    """The program, from a start at which some bytes of memory are unknown."""

    def __init__(self, program: UnicornProgram, setup: Setup, unknown: frozenset[int]) -> None:
        super().__init__(program)
        ranges = setup.ranges
        self._unknown = {
            cell: unknown.intersection(range(place.start, place.end))
            for cell, place in enumerate(ranges)
            if not unknown.isdisjoint(range(place.start, place.end))
        }
        # A value that no store can make: one byte too long.
        self._marks = {cell: bytes(len(self._memory[cell]) + 1) for cell in self._unknown}

    def initial_memory(self) -> tuple[Value, ...]:
        """The cells, with a mark where the contents are unknown."""
        return tuple(self._marks.get(cell, value) for cell, value in enumerate(self._memory))

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        """As the program has it. Raises _UnknownReadError."""
        reads = self.pending(cpu, local).reads
        for cell, value in zip(reads, values, strict=True):
            if value == self._marks.get(cell):
                raise _UnknownReadError(self._unknown[cell])
        return super().step(cpu, local, values)

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        """As the program has it; what nobody wrote is as it was loaded."""
        shown = (
            self._memory[cell] if value == self._marks.get(cell) else value
            for cell, value in enumerate(memory)
        )
        return super().final_violations(tuple(shown))


class _Still(_Wrapped):
    """The program, with cells that keep what they hold: nobody comes to know it."""

    def __init__(self, program: UnicornProgram, setup: Setup, still: Set[CellRange]) -> None:
        super().__init__(program)
        self._still = {cell for cell, place in enumerate(setup.ranges) if place in still}

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        """As the program has it, but for what it stores to these cells."""
        made = super().step(cpu, local, values)
        writes = (
            (cell, self._memory[cell] if cell in self._still else value)
            for cell, value in made.writes
        )
        return replace(made, writes=tuple(writes))
