"""A module's world switch on N CPUs, as a program that the explorer can explore.

One engine makes the steps of all CPUs (:mod:`kpatch.verify.machine.runs`): what tells CPUs apart is
in their snapshots (GS base, GDTR, TR) and in the shared memory, and a step begins with all of it
restored. Only a replay (:mod:`kpatch.verify.machine.live`) runs N engines at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal

from kpatch.verify.explore.program import (
    Cell,
    Local,
    OpKind,
    Outcome,
    Pending,
    Value,
    Violation,
)
from kpatch.verify.hardware.cpustate import Access, Execution, Snapshot
from kpatch.verify.hardware.descriptors import BUSY, FREE
from kpatch.verify.machine.arrival import Arrival, interruptible
from kpatch.verify.machine.cells import SharedMemory, SharedMemoryGrewError, StartBytes
from kpatch.verify.machine.local_states import Locals, LocalState, Phase, pack_guest, unpack_guest
from kpatch.verify.machine.masked_loads import MaskedLoads
from kpatch.verify.machine.runs import Labels, Ran, Runner, StepView
from kpatch.verify.machine.scenarios import ENDLESS, Scenario
from kpatch.verify.world.kernel_text import RETURN_AT, TAIL_DONE_AT

Mode = Literal["visible", "instruction"]

_KINDS: Final = {
    Phase.REST: OpKind.REST,
    Phase.DONE: OpKind.DONE,
    Phase.IDLE: OpKind.IDLE,
    Phase.FAULT: OpKind.FAULT,
}


class UnicornProgram:
    """Implements :class:`kpatch.verify.explore.program.Program`.

    May raise SharedMemoryGrewError from ``step``; then a new program over the same
    ``SharedMemory`` has to be explored from the start.
    """

    def __init__(
        self,
        runner: Runner,
        scenario: Scenario,
        shared: SharedMemory,
        mode: Mode = "visible",
        *,
        store_buffers: bool = True,
        start: StartBytes = (),
    ) -> None:
        """``store_buffers`` makes fences visible; without them (sc) they have no effect.
        ``start`` is what earlier rounds have left in shared memory, where the boot did not.
        """
        self.world = runner.world
        self.scenario = scenario
        self._runner = runner
        self._engine = runner.engine
        self._shared = shared
        self._everywhere = mode == "instruction"
        self._store_buffers = store_buffers
        self._locals = Locals(scenario.name)
        self._pending: dict[tuple[int, Local], Pending] = {}
        self._learned: set[tuple[tuple[int, ...], tuple[Access, ...]]] = set()
        self._called = runner.called
        self._masked_loads = MaskedLoads(self.world.code_at)
        shared.visible |= {RETURN_AT, TAIL_DONE_AT}
        if not shared.cells:
            for run, accesses in runner.tours:
                shared.learn(accesses)
                shared.visible |= self._visible_in(run, accesses)
        runner.restore(start)
        self._memory = tuple(
            self.world.host.arena.read(cell.start, cell.end - cell.start) for cell in shared.cells
        )
        self._everything = StepView(shared.cells, None)
        self._view = self._everything
        self._numbers = (runner.number(self._view), runner.number(self._everything))

    @property
    def cpus(self) -> int:
        """The number of CPUs."""
        return self.world.model.cpus

    @property
    def moves(self) -> bool:
        """Whether guests move."""
        return self.scenario.moves

    def initial_memory(self) -> tuple[Value, ...]:
        """The cells as the boot leaves them."""
        return self._memory

    def initial(self, cpu: int) -> Local:
        """In the kernel, about to call the switch."""
        rounds = self.scenario.rounds - 1
        seat = self.world.seat_of(cpu)
        return self._locals.number(LocalState(Phase.RUNNING, self._called[cpu], rounds, seat=seat))

    def pending(self, cpu: int, local: Local) -> Pending:
        """The instruction at rip, and the cells that it touches."""
        key = (cpu, local)
        known = self._pending.get(key)
        if known is None:
            known = self._pending[key] = self._look_ahead(cpu, self._locals[local])
        return known

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        """Run from the snapshot to just before the next visible instruction."""
        state = self._locals[local]
        pending = self.pending(cpu, local)
        if state.phase is Phase.REST:
            later = state.rounds if self.scenario.rounds == ENDLESS else state.rounds - 1
            state = replace(state, phase=Phase.RUNNING, rounds=later)
            return Outcome(self._locals.number(state), trace=("the next round begins",))
        if self._everywhere:
            return self._run(cpu, local, pending, values)
        place = cpu, local, state.snapshot.registers["rip"]
        run = partial(self._run, cpu, local, pending, values)
        return self._masked_loads.outcome(place, pending, values, run)

    def _run(self, cpu: int, local: Local, pending: Pending, values: tuple[Value, ...]) -> Outcome:
        state = self._locals[local]
        buffered = self._store_buffers and _still_buffered(state.buffered, pending)
        contents = self._contents(pending.reads, values)
        while True:
            number, view = self._up_to_date()
            ran = self._runner.step(number, view, cpu, state.snapshot, contents, at_fences=buffered)
            if not self._learn(ran.run, ran.accesses):
                break
        return self._outcome(cpu, state, pending, ran, buffered)

    def park(self, cpu: int, local: Local) -> tuple[Local, Value]:
        """The CPU keeps TR and its own part of the host; the guest takes its memory along."""
        state = self._locals[local]
        idle = LocalState(Phase.IDLE, replace(state.snapshot, chunks=()), 0)
        return self._locals.number(idle), pack_guest(state)

    def resume(self, cpu: int, local: Local, guest: Value) -> Local:
        """The idle CPU as it is, with the guest's memory, about to call the switch."""
        rounds, seat, chunks = unpack_guest(guest)
        snapshot = replace(self._locals[local].snapshot, chunks=chunks)
        if seat != self.world.seat_of(cpu):
            snapshot = self._runner.seated(cpu, snapshot, seat)
        return self._locals.number(LocalState(Phase.RUNNING, snapshot, rounds - 1, seat=seat))

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        """In the shared slot the descriptors of every CPU's TSS, free and busy; their addresses."""
        bases = [self.world.model.tss_of(cpu) for cpu in range(self.cpus)]
        named = [(self.world.host.soft_segment, [struct.pack("<Q", base) for base in bases])]
        if self.world.shared_slot is not None:
            for kind in (FREE, BUSY):
                descriptors = [self.world.model.tss_descriptor(base, kind) for base in bases]
                named.append((self.world.shared_slot, descriptors))
        families = []
        for index, cell in enumerate(self._shared.cells):
            for region, contents in named:
                if region.holds_physical(cell.start, cell.end - cell.start):
                    part = slice(cell.start - region.physical, cell.end - region.physical)
                    families.append((index, tuple(content[part] for content in contents)))
        return tuple(dict.fromkeys(families))

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        """The slot names a TSS. What later rounds make of the rest is seen by making them
        (:mod:`kpatch.verify.machine.rounds`).
        """
        found = []
        if self.world.shared_slot is not None:
            for place, value in zip(self._shared.cells, memory, strict=True):
                self.world.host.arena.write(place.start, value)
            complaint = self.world.slot_complaint()
            if complaint:
                found.append(Violation("descriptor", complaint))
        return tuple(violation for violation in found if violation.prop in self.scenario.promised)

    def _up_to_date(self) -> tuple[int, StepView]:
        """What is known by now of where a run has to stop."""
        if self._everywhere:
            return self._numbers[1], self._everything
        stops = self._view.stops
        if stops is None or len(stops) != len(self._shared.visible):  # it only grows
            self._view = StepView(self._shared.cells, frozenset(self._shared.visible))
            self._numbers = self._runner.number(self._view), self._numbers[1]
        return self._numbers[0], self._view

    def _learn(self, run: Execution, accesses: tuple[Access, ...]) -> bool:
        """Take note of what a run touched. True if it should have stopped before it did.

        Raises SharedMemoryGrewError if the cells are others now.
        """
        known = tuple(run.trace), accesses
        if known in self._learned:
            return False
        self._learned.add(known)
        self._shared.note(run, accesses)
        if self._shared.learn(accesses):
            raise SharedMemoryGrewError
        missed = self._visible_in(run, [access for access in accesses if access.step > 0])
        missed -= self._shared.visible
        self._shared.visible |= missed
        return bool(missed) and not self._everywhere

    def _visible_in(self, run: Execution, accesses: Iterable[Access]) -> set[int]:
        """Addresses of the instructions of a run that touch a cell."""
        return {run.trace[access.step] for access in accesses if self._shared.holds(access)}

    def _look_ahead(self, cpu: int, state: LocalState) -> Pending:
        if state.phase is not Phase.RUNNING:
            return Pending(_KINDS[state.phase], label=state.phase.value)
        info = self._engine.info(state.snapshot.registers["rip"])
        if info.refused or info.kind is OpKind.PAUSE:
            return Pending(info.kind, label=info.label)
        run, accesses = self._runner.look(
            self._numbers[1], self._everything, cpu, state.snapshot, self._memory
        )
        self._learn(run, accesses)
        reads = self._shared.touched(access for access in accesses if not access.write)
        writes = self._shared.touched(access for access in accesses if access.write)
        # One that faults touches nothing, but waits for the store before it as any other does.
        kind = info.kind if reads or writes or info.is_fence else OpKind.PLAIN
        return Pending(kind, reads, writes, info.label)

    def _outcome(
        self, cpu: int, state: LocalState, pending: Pending, ran: Ran, buffered: bool
    ) -> Outcome:
        engine, run = self._engine, ran.run
        called = self._runner.calls[cpu][state.seat] if self.moves else self._called[cpu]
        arrival = self._runner.arrival(ran, self.scenario, cpu, called)
        self._shared.flow.add((run.trace[-1], arrival.registers["rip"]))
        first = [access for access in ran.accesses if access.step == 0]
        violations = (
            interruptible(engine, self._shared, run)
            or self._unforeseen(first, pending)
            or arrival.violations
        )
        if violations:
            after = LocalState(Phase.FAULT, called, 0)
        else:
            after = self._after(cpu, state, called, ran.after, arrival, buffered)
        writes: tuple[tuple[Cell, Value], ...] = ()
        # What the first instruction stored: no later one of a run stores to a cell. An ``ltr`` that
        # faults has stored nothing.
        if any(access.write for access in run.accesses if access.step == 0):
            stored = self._shared.touched(access for access in first if access.write)
            writes = tuple((cell, ran.cells[cell]) for cell in stored)
        return Outcome(self._locals.number(after), writes, violations, Labels(engine, run.trace))

    def _after(
        self,
        cpu: int,
        state: LocalState,
        called: Snapshot,
        snapshot: Snapshot,
        arrival: Arrival,
        buffered: bool,
    ) -> LocalState:
        over = arrival.round_over
        if arrival.returned or over:
            # Behind a round the CPU is not the guest's any more: it is ready for its first one.
            called = self._called[cpu] if over else called
            snapshot = self._runner.back(cpu, snapshot, called, round_over=over)
        if not over:
            return LocalState(Phase.RUNNING, snapshot, state.rounds, buffered, state.seat)
        if state.rounds:
            return LocalState(Phase.REST, snapshot, state.rounds, buffered, state.seat)
        return LocalState(Phase.DONE, replace(snapshot, chunks=()), 0)

    def _unforeseen(self, first: Sequence[Access], pending: Pending) -> tuple[Violation, ...]:
        """An instruction whose addresses depend on what it reads from shared memory."""
        reads = self._shared.touched(access for access in first if not access.write)
        writes = self._shared.touched(access for access in first if access.write)
        if set(reads) <= set(pending.reads) and set(writes) <= set(pending.writes):
            return ()
        return (Violation("no-fault", f"beyond what the emulation models, at {pending.label}"),)

    def _contents(self, cells: tuple[Cell, ...], values: tuple[Value, ...]) -> tuple[Value, ...]:
        """All cells: ``values`` in some, and what they held at the start in the others."""
        contents = list(self._memory)
        for cell, value in zip(cells, values, strict=True):
            contents[cell] = value
        return tuple(contents)


def _still_buffered(before: bool, pending: Pending) -> bool:
    if pending.kind in (OpKind.LOCKED, OpKind.SERIALIZING):
        return False
    return before or bool(pending.writes)
