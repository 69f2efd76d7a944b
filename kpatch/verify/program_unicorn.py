"""A module's world switch on N CPUs, as a program that the explorer can explore.

One engine makes the steps of all CPUs: what tells CPUs apart is in their snapshots (GS base,
GDTR, TR) and in the shared memory, and a step ends with everything restored. Only a replay
(:mod:`kpatch.verify.replay`) runs N engines at once.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

from kpatch.errors import VerificationError
from kpatch.verify.cells import SharedMemory, SharedMemoryGrewError
from kpatch.verify.cpu import CHUNK, EVERYWHERE, Access, Engine, Run, Snapshot
from kpatch.verify.descriptors import BUSY, FREE, parse, tss_descriptor
from kpatch.verify.host import RETURN_AT
from kpatch.verify.program import (
    Cell,
    Local,
    OpKind,
    Outcome,
    Pending,
    Value,
    Violation,
)
from kpatch.verify.properties import Seen
from kpatch.verify.judge import judge, shared_accesses
from kpatch.verify.scenarios import Scenario
from kpatch.verify.world import World

Mode = Literal["visible", "instruction"]

MOST_LOCALS: Final = 100_000
"""Local states that are kept, about 7 kB each. A module that has more is not explored."""


class Phase(Enum):
    """Where in a round a CPU is."""

    RUNNING = "running"
    REST = "rest"
    DONE = "done"
    IDLE = "idle"
    FAULT = "fault"


_KINDS: Final = {
    Phase.REST: OpKind.REST,
    Phase.DONE: OpKind.DONE,
    Phase.IDLE: OpKind.IDLE,
    Phase.FAULT: OpKind.FAULT,
}


@dataclass(frozen=True)
class LocalState:
    """A CPU and its guest. ``rounds`` counts those still to come after this one.

    ``buffered`` is set where a plain store may still be in the store buffer: then a fence is a
    visible operation, because it waits for the buffer.
    """

    phase: Phase
    snapshot: Snapshot
    rounds: int
    buffered: bool = False


class UnicornProgram:
    """Implements :class:`kpatch.verify.program.Program`.

    May raise SharedMemoryGrewError from ``step``; then a new program over the same
    ``SharedMemory`` has to be explored from the start.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        shared: SharedMemory,
        mode: Mode = "visible",
        *,
        store_buffers: bool = True,
    ) -> None:
        """``store_buffers`` makes fences visible; without them (sc) they have no effect."""
        self.world = world
        self.scenario = scenario
        self._shared = shared
        self._everywhere = mode == "instruction"
        self._store_buffers = store_buffers
        self._engine: Engine = world.engine()
        self._territories = tuple(world.territory(cpu) for cpu in range(self.cpus))
        self._locals: list[LocalState] = []
        self._numbers: dict[LocalState, Local] = {}
        self._pending: dict[tuple[int, Local], Pending] = {}
        self._called = self._boot()
        shared.visible.add(RETURN_AT)
        if not shared.cells:
            self._warm_up()
        self._memory = tuple(self._read_cells())

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
        return self._number(LocalState(Phase.RUNNING, self._called[cpu], rounds))

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
            state = LocalState(Phase.RUNNING, state.snapshot, state.rounds - 1, state.buffered)
            return Outcome(self._number(state), trace=("the next round begins",))
        buffered = self._store_buffers and _still_buffered(state.buffered, pending)
        engine, territory = self._engine, self._territories[cpu]
        while True:
            self._write_cells(pending.reads, values)
            engine.load(state.snapshot, territory)
            run = engine.run(territory, self._stops, at_fences=buffered)
            if not self._learn(run):
                break
        return self._outcome(cpu, state, pending, run, buffered)

    def park(self, cpu: int, local: Local) -> tuple[Local, Value]:
        """The CPU keeps TR and its own part of the host; the guest takes its memory along."""
        state = self._locals[local]
        self._engine.load(state.snapshot, self._territories[cpu])
        idle = self._at_rest(cpu, keep_guest=False)
        guest = struct.pack("<H", state.rounds) + b"".join(
            struct.pack("<I", chunk) + data for chunk, data in state.snapshot.chunks
        )
        return self._number(LocalState(Phase.IDLE, idle, 0)), guest

    def resume(self, cpu: int, local: Local, guest: Value) -> Local:
        """The idle CPU as it is, with the guest's memory, about to call the switch."""
        (rounds,) = struct.unpack_from("<H", guest)
        chunks = tuple(
            (struct.unpack_from("<I", guest, at)[0], guest[at + 4 : at + 4 + CHUNK])
            for at in range(2, len(guest), 4 + CHUNK)
        )
        idle = self._locals[local].snapshot
        snapshot = Snapshot(idle.registers, chunks, idle.owned, idle.context)
        return self._number(LocalState(Phase.RUNNING, snapshot, rounds - 1))

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        """In the shared slot: the descriptors of every CPU's TSS, free and busy."""
        slot = self.world.shared_slot
        if slot is None:
            return ()
        host = self.world.model
        families = []
        for index, cell in enumerate(self._shared.cells):
            if slot.physical <= cell.start and cell.end <= slot.physical + slot.size:
                part = slice(cell.start - slot.physical, cell.end - slot.physical)
                for kind in (FREE, BUSY):
                    values = tuple(
                        tss_descriptor(host.tss_of(cpu), kind)[part] for cpu in range(self.cpus)
                    )
                    if (index, values) not in families:
                        families.append((index, values))
        return tuple(families)

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        """The lock is free again, and the slot names a TSS."""
        found = []
        for cell, start, end in zip(self._shared.cells, self._memory, memory, strict=True):
            for region in self.world.lock_regions:
                if region.physical <= cell.start < region.physical + region.size and end != start:
                    place = f"{region.name}+{cell.start - region.physical:#x}"
                    found.append(Violation("progress", f"{place} is left at {end.hex()}"))
        slot = self.world.shared_slot
        if slot is not None:
            self._write_cells(tuple(range(len(memory))), memory)
            descriptor = parse(self.world.host.arena.read(slot.physical, slot.size))
            bases = {self.world.model.tss_of(cpu) for cpu in range(self.cpus)}
            if not (descriptor.is_tss and descriptor.present and descriptor.base in bases):
                found.append(Violation("descriptor", f"the slot is left with {descriptor}"))
        return tuple(each for each in found if each.prop in self.scenario.promised)

    @property
    def _stops(self) -> Container[int]:
        return EVERYWHERE if self._everywhere else self._shared.visible

    def _number(self, state: LocalState) -> Local:
        known = self._numbers.get(state)
        if known is not None:
            return known
        if len(self._locals) == MOST_LOCALS:
            raise VerificationError(
                f"not proven: more than {MOST_LOCALS} states of a single CPU",
                where=self.scenario.name,
                todo="the module has more states than this machine can hold",
            )
        self._locals.append(state)
        self._numbers[state] = len(self._locals) - 1
        return len(self._locals) - 1

    def _warm_up(self) -> None:
        """Run two CPUs, one after the other, through a round, to see what they share."""
        for cpu in range(min(2, self.cpus)):
            self._engine.load(self._called[cpu], self._territories[cpu])
            run = self._engine.run(self._territories[cpu], {RETURN_AT})
            accesses = shared_accesses(self._engine, run)
            self._shared.learn(accesses)
            self._shared.visible |= self._visible_in(run, accesses)
            self._boot()

    def _boot(self) -> tuple[Snapshot, ...]:
        self.world.reset()
        return tuple(self.world.boot(self._engine, cpu) for cpu in range(self.cpus))

    def _learn(self, run: Run) -> bool:
        """Take note of what a run touched. True if it should have stopped before it did.

        Raises SharedMemoryGrewError if the cells are others now.
        """
        accesses = shared_accesses(self._engine, run)
        if self._shared.learn(accesses):
            raise SharedMemoryGrewError
        missed = self._visible_in(run, [each for each in accesses if each.step > 0])
        missed -= self._shared.visible
        self._shared.visible |= missed
        return bool(missed) and not self._everywhere

    def _visible_in(self, run: Run, accesses: Iterable[Access]) -> set[int]:
        """Addresses of the instructions of a run that touch a cell."""
        return {run.trace[each.step] for each in accesses if self._shared.holds(each)}

    def _look_ahead(self, cpu: int, state: LocalState) -> Pending:
        if state.phase is not Phase.RUNNING:
            return Pending(_KINDS[state.phase], label=state.phase.value)
        info = self._engine.info(state.snapshot.registers["rip"])
        if info.refused or info.kind is OpKind.PAUSE:
            return Pending(info.kind, label=info.label)
        self._write_cells((), ())
        self._engine.load(state.snapshot, self._territories[cpu])
        run = self._engine.run(self._territories[cpu], EVERYWHERE)
        self._learn(run)
        accesses = shared_accesses(self._engine, run)
        reads = tuple(self._shared.touched(each for each in accesses if not each.write))
        writes = tuple(self._shared.touched(each for each in accesses if each.write))
        fence = info.is_fence and self._store_buffers
        kind = info.kind if reads or writes or fence else OpKind.PLAIN
        return Pending(kind, reads, writes, info.label)

    def _outcome(
        self, cpu: int, state: LocalState, pending: Pending, run: Run, buffered: bool
    ) -> Outcome:
        writes = self._writes(run)
        registers = self._engine.registers
        returned = run.failure is None and registers["rip"] == RETURN_AT
        seen = Seen(
            host=self.world.model,
            cpu=cpu,
            run=run,
            called=self._called[cpu].registers,
            returned=registers if returned else None,
        )
        violations = judge(self.scenario, seen) + self._unforeseen(run, pending)
        if violations:
            after = LocalState(Phase.FAULT, self._called[cpu], 0)
        elif not returned:
            after = LocalState(
                Phase.RUNNING, self._engine.save(self._territories[cpu]), state.rounds, buffered
            )
        elif state.rounds:
            after = LocalState(
                Phase.REST, self._at_rest(cpu, keep_guest=True), state.rounds, buffered
            )
        else:
            after = LocalState(Phase.DONE, self._at_rest(cpu, keep_guest=False), 0)
        trace = tuple(self._engine.info(address).label for address in run.trace)
        return Outcome(self._number(after), writes, violations, trace)

    def _writes(self, run: Run) -> tuple[tuple[Cell, Value], ...]:
        """What the first instruction stored: no later one of a run stores to a cell."""
        if not any(each.write for each in run.accesses if each.step == 0):
            return ()
        stores = [each for each in shared_accesses(self._engine, run) if each.write and each.step == 0]
        contents = tuple(self._read_cells())
        return tuple((cell, contents[cell]) for cell in self._shared.touched(stores))

    def _unforeseen(self, run: Run, pending: Pending) -> tuple[Violation, ...]:
        """An instruction whose addresses depend on what it reads from shared memory."""
        first = [each for each in shared_accesses(self._engine, run) if each.step == 0]
        reads = self._shared.touched(each for each in first if not each.write)
        writes = self._shared.touched(each for each in first if each.write)
        if set(reads) <= set(pending.reads) and set(writes) <= set(pending.writes):
            return ()
        return (Violation("no-fault", f"beyond what the emulation models, at {pending.label}"),)

    def _at_rest(self, cpu: int, *, keep_guest: bool) -> Snapshot:
        """Back in kqemu_exec: the kernel's own registers again, but TR as it was found.

        What kqemu_exec restores by itself (data segments, GS base, FS base) is restored, and what
        the switch had to restore was compared; the dead part of the stack stays as it is.
        """
        tr = self._engine.tr
        self._engine.take_registers(self._called[cpu])
        self._engine.write_tr(*tr)
        snapshot = self._engine.save(self._territories[cpu])
        return snapshot if keep_guest else replace(snapshot, chunks=())

    def _read_cells(self) -> Iterator[Value]:
        for cell in self._shared.cells:
            yield self.world.host.arena.read(cell.start, cell.end - cell.start)

    def _write_cells(self, cells: tuple[Cell, ...], values: tuple[Value, ...]) -> None:
        """Put ``values`` into some cells, and what they held at the start into the others."""
        contents = list(self._memory)
        for cell, value in zip(cells, values, strict=True):
            contents[cell] = value
        for place, value in zip(self._shared.cells, contents, strict=True):
            self.world.host.arena.write(place.start, value)


def _still_buffered(before: bool, pending: Pending) -> bool:
    if pending.kind in (OpKind.LOCKED, OpKind.SERIALIZING):
        return False
    return before or bool(pending.writes)
