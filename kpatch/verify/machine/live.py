"""Runs one schedule on N engines at once, over memory that they really share.

Nothing is memoised or taken from the exploration but the schedule and where steps end. Memory
is one buffer that all engines map; each has its own private memory, which is copied when a guest
moves. So this is a second opinion on every counterexample, and it can say after each step what
every TR and the descriptor hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kpatch.errors import VerificationError
from kpatch.units import counted
from kpatch.verify.explore.program import OpKind, Violation
from kpatch.verify.explore.schedule import Move, MoveKind, Schedule, impossible
from kpatch.verify.hardware.cpu import Engine
from kpatch.verify.hardware.cpustate import EVERYWHERE, Execution, Snapshot, Territory
from kpatch.verify.hardware.descriptors import SystemDescriptor, parse
from kpatch.verify.machine.arrival import (
    arrive,
    back_in_kernel,
    interruptible,
    own_slot,
    shared_accesses,
)
from kpatch.verify.machine.cells import SharedMemory, StartBytes
from kpatch.verify.machine.scenarios import Scenario
from kpatch.verify.world.world import World

Store = tuple[tuple[int, bytes], ...]  # physical address, contents: parts of one store


@dataclass(frozen=True)
class LiveStep:
    """One move, and the machine after it.

    ``descriptors`` has the one that all CPUs share, or each CPU's own. ``tasks`` are the hidden
    bases of TR, by CPU. ``slots`` is what is wrong with the slots, if all CPUs stopped here.
    ``buffered`` counts the stores of each CPU that memory has not seen.
    """

    move: Move
    trace: tuple[str, ...]
    descriptors: tuple[SystemDescriptor, ...]
    tasks: tuple[int, ...]
    buffered: tuple[int, ...]
    violations: tuple[Violation, ...]
    slots: str


@dataclass
class _Cpu:
    engine: Engine
    territory: Territory
    home: Snapshot
    calls: tuple[Snapshot, ...]
    rounds: int
    seat: int
    phase: OpKind = OpKind.PLAIN
    buffer: list[Store] = field(default_factory=list)
    may_be_buffered: bool = False


class LiveMachine:
    """N engines over one shared memory, booted, every CPU about to call the switch."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        shared: SharedMemory,
        *,
        store_buffers: bool,
        every_instruction: bool = False,
        start: StartBytes = (),
    ) -> None:
        """``shared`` says which instructions end a step, unless ``every_instruction`` does;
        ``store_buffers`` makes it x86-TSO; ``start`` is what earlier rounds left in memory.
        """
        self._world = world
        self._scenario = scenario
        self._shared = shared
        self._store_buffers = store_buffers
        self._every_instruction = every_instruction
        self._pool: list[tuple[Snapshot, int, int]] = []
        world.reset()
        self._cpus: list[_Cpu] = []
        for cpu in range(world.model.cpus):
            engine = world.engine()
            home = world.boot(engine, cpu)
            calls = world.calls(engine, cpu, home)
            rounds, seat = scenario.rounds - 1, world.seat_of(cpu)
            self._cpus.append(_Cpu(engine, world.territory(cpu), home, calls, rounds, seat))
        self._store(start)

    def close(self) -> None:
        """Release the engines."""
        for cpu in self._cpus:
            cpu.engine.close()

    def make_moves(self, schedule: Schedule) -> tuple[LiveStep, ...]:
        """Make the moves. Raises UsageError at one that cannot be made."""
        steps = []
        for position, move in enumerate(schedule, 1):
            problem = self._obstacle(move)
            if problem:
                raise impossible(move, position, problem)
            steps.append(self._make(move))
        return tuple(steps)

    def _obstacle(self, move: Move) -> str:
        if move.cpu >= len(self._cpus):
            return f"the host has {counted(len(self._cpus), 'CPU')}"
        cpu = self._cpus[move.cpu]
        if move.kind is MoveKind.DRAIN:
            return "" if cpu.buffer else "its store buffer is empty"
        if move.kind is MoveKind.TAKE:
            if cpu.phase is not OpKind.IDLE:
                return "the CPU has a guest"
            return "" if move.guest < len(self._pool) else f"waiting guests: {len(self._pool)}"
        if cpu.phase in (OpKind.IDLE, OpKind.FAULT):
            return f"the CPU is at {cpu.phase.value}"
        if cpu.phase is OpKind.DONE and not self._scenario.moves:
            return "the CPU has finished"
        parks = self._scenario.moves and cpu.phase in (OpKind.REST, OpKind.DONE)
        if cpu.buffer and (parks or (cpu.phase is OpKind.PLAIN and self._at_fence(cpu))):
            return "its store buffer has to drain first"
        return ""

    def _make(self, move: Move) -> LiveStep:
        cpu = self._cpus[move.cpu]
        trace: tuple[str, ...] = ()
        violations: tuple[Violation, ...] = ()
        if move.kind is MoveKind.DRAIN:
            self._store(cpu.buffer.pop(0))
        elif move.kind is MoveKind.TAKE:
            snapshot, cpu.rounds, cpu.seat = self._pool.pop(move.guest)
            cpu.engine.guest.restore(snapshot.chunks)
            cpu.engine.write_registers(self._world.guest.registers(cpu.seat))
            cpu.phase = OpKind.PLAIN
        elif cpu.phase in (OpKind.REST, OpKind.DONE):
            self._leave_rest(cpu)
        else:
            trace, violations = self._run(move.cpu, cpu)
        return LiveStep(
            move=move,
            trace=trace,
            descriptors=self._descriptors(),
            tasks=tuple(live.engine.tr.base for live in self._cpus),
            buffered=tuple(len(live.buffer) for live in self._cpus),
            violations=violations,
            slots=self._world.slot_complaint(),
        )

    def _leave_rest(self, cpu: _Cpu) -> None:
        """Begin the next round; or, where guests move, let the guest wait for any CPU."""
        if not self._scenario.moves:
            cpu.phase = OpKind.PLAIN
            cpu.rounds -= 1
            return
        if cpu.phase is OpKind.REST:
            self._pool.append((cpu.engine.save(cpu.territory), cpu.rounds - 1, cpu.seat))
        cpu.phase = OpKind.IDLE

    def _run(self, number: int, cpu: _Cpu) -> tuple[tuple[str, ...], tuple[Violation, ...]]:
        """The instruction at rip, then on to just before the next visible one."""
        fence = self._at_fence(cpu)
        run, stores = self._first_instruction(cpu)
        refused = interruptible(cpu.engine, self._shared, run)
        if fence or not (self._store_buffers or self._loads(cpu, run)):
            self._store(stores)
            cpu.may_be_buffered = False
        elif stores:
            cpu.buffer.append(stores)
            cpu.may_be_buffered = self._store_buffers
        if run.failure is None and not self._at_stop(cpu):
            first = run
            run = cpu.engine.run(
                cpu.territory,
                self._shared.visible,
                at_fences=cpu.may_be_buffered,
                taken=len(first.trace),
            )
            run.trace[:0], run.loaded[:0] = first.trace, first.loaded
            if any(self._shared.holds(access) for access in shared_accesses(cpu.engine, run)):
                raise VerificationError(
                    "the schedule does not replay: a step went on over shared memory",
                    todo="report this as a bug of kpatch; it says nothing about the module",
                )
        violations = refused or self._arrive(number, cpu, run)
        if refused:
            cpu.phase = OpKind.FAULT
        return tuple(cpu.engine.info(address).label for address in run.trace), violations

    def _first_instruction(self, cpu: _Cpu) -> tuple[Execution, Store]:
        """Run it; what it stored to shared memory is taken back, and returned."""
        arena = self._world.host.arena
        saved = self._contents(cpu.territory.watched)
        for store in cpu.buffer:
            self._store(store)  # a CPU's loads see its own stores
        run = cpu.engine.run(cpu.territory, EVERYWHERE)
        stores = tuple(
            (access.physical, arena.read(access.physical, access.size))
            for access in run.accesses
            if access.write
        )
        self._store(saved)
        return run, stores

    def _loads(self, cpu: _Cpu, run: Execution) -> bool:
        """Whether it loads what CPUs share: then its store is a move of its own, under sc too."""
        accesses = shared_accesses(cpu.engine, run)
        return any(self._shared.holds(access) for access in accesses if not access.write)

    def _at_fence(self, cpu: _Cpu) -> bool:
        return cpu.engine.info(cpu.engine.registers["rip"]).is_fence

    def _at_stop(self, cpu: _Cpu) -> bool:
        address = cpu.engine.registers["rip"]
        if self._every_instruction or address in self._shared.visible:
            return True
        if cpu.engine.info(address).kind is OpKind.PAUSE:
            return True
        return cpu.may_be_buffered and self._at_fence(cpu)

    def _arrive(self, number: int, cpu: _Cpu, run: Execution) -> tuple[Violation, ...]:
        called = cpu.calls[cpu.seat]
        slot = own_slot(self._world, number)
        registers = cpu.engine.registers
        arrival = arrive(self._world, self._scenario, number, registers, slot, called, run)
        if arrival.violations:
            cpu.phase = OpKind.FAULT
        elif arrival.returned or arrival.round_over:
            over = arrival.round_over
            called = cpu.home if over else called
            back_in_kernel(self._world, cpu.engine, called, round_over=over)
            if over:
                cpu.phase = OpKind.REST if cpu.rounds else OpKind.DONE
        return arrival.violations

    def _store(self, store: Store) -> None:
        for physical, contents in store:
            self._world.host.arena.write(physical, contents)

    def _contents(self, ranges: tuple[tuple[int, int], ...]) -> Store:
        arena = self._world.host.arena
        return tuple((low, arena.read(low, high - low)) for low, high in ranges)

    def _descriptors(self) -> tuple[SystemDescriptor, ...]:
        host = self._world.host
        shared = host.model.gdt == "shared"
        slots = [host.slot(cpu) for cpu in range(1 if shared else host.model.cpus)]
        return tuple(parse(host.arena.read(slot.physical, slot.size)) for slot in slots)
