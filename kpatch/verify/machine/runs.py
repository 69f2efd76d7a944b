"""The runs of all CPUs of a world on one engine, each made once.

A run is a function of the CPU's snapshot, of what the shared memory holds, and of where it has to
stop. Scenarios on the same host, and both memory models, ask for the same runs again; so what one
exploration has run, the next one over the same world finds here.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from kpatch.verify.explore.program import Value
from kpatch.verify.hardware.cpu import Engine
from kpatch.verify.hardware.cpustate import EVERYWHERE, Access, Execution, Snapshot
from kpatch.verify.machine.arrival import Arrival, arrive, back_in_kernel, shared_accesses
from kpatch.verify.machine.cells import CellRange, StartBytes
from kpatch.verify.machine.scenarios import Scenario
from kpatch.verify.world.kernel_text import RETURN_AT, TAIL_DONE_AT
from kpatch.verify.world.world import World

MOST_KEPT: Final = 20_000
"""Runs that are kept, about 8 kB each; then all are forgotten."""


class StepView(NamedTuple):
    """What an exploration knows so far: the cells, and where a run has to stop.

    ``stops`` is None where it stops behind every instruction.
    """

    cells: tuple[CellRange, ...]
    stops: frozenset[int] | None


class Ran(NamedTuple):
    """A run, the shared memory that it touched, the CPU after it, and the cells after it.

    ``arrivals`` is what it came to, by the promises of a scenario and the call.
    """

    run: Execution
    accesses: tuple[Access, ...]
    after: Snapshot
    cells: tuple[Value, ...]
    arrivals: dict[tuple[frozenset[str], Snapshot], Arrival]


class Runner:
    """A world, booted, and one engine that makes the runs of all its CPUs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine: Engine = world.engine()
        weakref.finalize(self, self.engine.close)
        cpus = range(world.model.cpus)
        self._territories = tuple(world.territory(cpu) for cpu in cpus)
        world.reset()
        self.called = tuple(world.boot(self.engine, cpu) for cpu in cpus)
        regions = (*world.lock_regions, world.host.soft_segment, *map(world.host.slot, cpus))
        self._booted: StartBytes = tuple(
            (region.physical, world.host.arena.read(region.physical, region.size))
            for region in regions
        )
        self._views: dict[StepView, int] = {}
        self._ran: dict[tuple[object, ...], Ran] = {}
        self._looked: dict[tuple[object, ...], tuple[Execution, tuple[Access, ...]]] = {}
        self._back: dict[tuple[object, ...], Snapshot] = {}

    @cached_property
    def calls(self) -> tuple[tuple[Snapshot, ...], ...]:
        """The first call as each guest makes it, by CPU."""
        return tuple(
            self.world.calls(self.engine, cpu, called) for cpu, called in enumerate(self.called)
        )

    def restore(self, start: StartBytes = ()) -> None:
        """Make shared memory what the boot left, but for ``start``."""
        for physical, left in (*self._booted, *start):
            self.world.host.arena.write(physical, left)

    @cached_property
    def tours(self) -> tuple[tuple[Execution, tuple[Access, ...]], ...]:
        """Two CPUs, one after the other, run through a round: a first look at what they share."""
        made = []
        for cpu, called in enumerate(self.called[:2]):
            territory = self._territories[cpu]
            self.restore()
            self.engine.load(called, territory)
            made.append(self.engine.run(territory, {RETURN_AT}))
            if self.world.tail is not None:
                back_in_kernel(self.world, self.engine, called, round_over=False)
                made.append(self.engine.run(territory, {TAIL_DONE_AT}))
        self.restore()
        return tuple((run, self._accesses(run)) for run in made)

    def number(self, view: StepView) -> int:
        """A number for a view; equal views have the same."""
        return self._views.setdefault(view, len(self._views))

    def step(
        self,
        number: int,
        view: StepView,
        cpu: int,
        snapshot: Snapshot,
        contents: tuple[Value, ...],
        *,
        at_fences: bool,
    ) -> Ran:
        """Run a CPU from a snapshot, with ``contents`` in the cells, to where ``view`` says.

        ``number`` is that of the view.
        """
        key = (number, cpu, snapshot, contents, at_fences)
        found = self._ran.get(key)
        if found is None:
            stops: Container[int] = EVERYWHERE if view.stops is None else view.stops
            territory = self._territories[cpu]
            self._write(view, contents)
            self.engine.load(snapshot, territory)
            run = self.engine.run(territory, stops, at_fences=at_fences)
            after = self.engine.save(territory)
            found = Ran(run, self._accesses(run), after, tuple(self._read(view)), {})
            if len(self._ran) >= MOST_KEPT:
                self._ran.clear()
            self._ran[key] = found
        return found

    def arrival(self, ran: Ran, scenario: Scenario, cpu: int, called: Snapshot) -> Arrival:
        """What a run of this CPU came to, for a scenario on this world."""
        key = scenario.promised, called
        found = ran.arrivals.get(key)
        if found is None:
            slot = b"" if self.world.shared_slot is not None else ran.after.owned
            registers = ran.after.registers
            found = ran.arrivals[key] = arrive(
                self.world, scenario, cpu, registers, slot, called, ran.run
            )
        return found

    def look(
        self, number: int, view: StepView, cpu: int, snapshot: Snapshot, contents: tuple[Value, ...]
    ) -> tuple[Execution, tuple[Access, ...]]:
        """The next instruction alone, and what it touches."""
        key = (number, cpu, snapshot, contents)
        found = self._looked.get(key)
        if found is None:
            self._write(view, contents)
            self.engine.load(snapshot, self._territories[cpu])
            run = self.engine.run(self._territories[cpu], EVERYWHERE)
            if len(self._looked) >= MOST_KEPT:
                self._looked.clear()
            found = self._looked[key] = run, self._accesses(run)
        return found

    def back(self, cpu: int, after: Snapshot, called: Snapshot, *, round_over: bool) -> Snapshot:
        """The CPU back in the kernel: see :func:`~kpatch.verify.machine.arrival.back_in_kernel`."""
        key = (cpu, after, called, round_over)
        found = self._back.get(key)
        if found is None:
            self.engine.load(after, self._territories[cpu])
            back_in_kernel(self.world, self.engine, called, round_over=round_over)
            if len(self._back) >= MOST_KEPT:
                self._back.clear()
            found = self._back[key] = self.engine.save(self._territories[cpu])
        return found

    def seated(self, cpu: int, snapshot: Snapshot, seat: int) -> Snapshot:
        """A CPU with the registers with which the guest of another seat calls the switch."""
        key = (cpu, snapshot, seat)
        found = self._back.get(key)
        if found is None:
            self.engine.load(snapshot, self._territories[cpu])
            self.engine.write_registers(self.world.guest.registers(seat))
            found = self._back[key] = self.engine.save(self._territories[cpu])
        return found

    def _accesses(self, run: Execution) -> tuple[Access, ...]:
        return tuple(shared_accesses(self.engine, run))

    def _write(self, view: StepView, contents: tuple[Value, ...]) -> None:
        for place, value in zip(view.cells, contents, strict=True):
            self.world.host.arena.write(place.start, value)

    def _read(self, view: StepView) -> Iterator[Value]:
        for cell in view.cells:
            yield self.world.host.arena.read(cell.start, cell.end - cell.start)


class Labels:
    """The instructions of a run, for people."""

    def __init__(self, engine: Engine, trace: Sequence[int]) -> None:
        self._engine = engine
        self._trace = trace

    def __iter__(self) -> Iterator[str]:
        return (self._engine.info(address).label for address in self._trace)
