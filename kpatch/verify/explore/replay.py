"""Runs one schedule on a program, concretely: no orbits, no sharing of code with the search."""

from __future__ import annotations

from dataclasses import dataclass

from kpatch.units import counted
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.program import Cell, Local, OpKind, Pending, Program, Value, Violation
from kpatch.verify.explore.schedule import Move, MoveKind, Schedule, impossible


@dataclass(frozen=True)
class ReplayStep:
    """One move: what was run and what came of it.

    ``memory`` and ``locals`` are those after the move.
    """

    move: Move
    label: str
    trace: tuple[str, ...]
    memory: tuple[Value, ...]
    locals: tuple[Local, ...]
    violations: tuple[Violation, ...]


@dataclass(frozen=True)
class Replayed:
    """A schedule after it has been run. ``finished``: every CPU and every guest has."""

    steps: tuple[ReplayStep, ...]
    memory: tuple[Value, ...]
    locals: tuple[Local, ...]
    finished: bool


def replay(program: Program, schedule: Schedule, model: MemoryModel) -> Replayed:
    """Runs the schedule. Raises UsageError that names the first move that cannot be made."""
    run = ConcreteRun(program, model)
    steps = []
    for position, move in enumerate(schedule, 1):
        problem = run.obstacle(move)
        if problem:
            raise impossible(move, position, problem)
        steps.append(run.make(move))
    return Replayed(tuple(steps), run.memory, tuple(run.locals), run.finished)


class ConcreteRun:
    """The program in one state: memory, store buffers, local states and the pool."""

    def __init__(self, program: Program, model: MemoryModel) -> None:
        self.program = program
        self._tso = model is MemoryModel.TSO
        self.memory = program.initial_memory()
        self.locals = [program.initial(cpu) for cpu in range(program.cpus)]
        self.buffers: list[list[tuple[tuple[Cell, Value], ...]]] = [[] for _ in self.locals]
        self.pool: list[Value] = []

    @property
    def finished(self) -> bool:
        """Every CPU is done, every store has reached memory, every guest has ended."""
        end = OpKind.IDLE if self.program.moves else OpKind.DONE
        kinds = [self.program.pending(cpu, local).kind for cpu, local in enumerate(self.locals)]
        return all(kind is end for kind in kinds) and not any(self.buffers) and not self.pool

    def obstacle(self, move: Move) -> str:
        """Why a move cannot be made, or nothing."""
        if move.cpu >= self.program.cpus:
            return f"the host has {counted(self.program.cpus, 'CPU')}"
        pending = self.program.pending(move.cpu, self.locals[move.cpu])
        kind = pending.kind
        drained = not self.buffers[move.cpu]
        if move.kind is MoveKind.DRAIN:
            return "its store buffer is empty" if drained else ""
        if move.kind is MoveKind.TAKE:
            if kind is not OpKind.IDLE:
                return "the CPU has a guest"
            return "" if move.guest < len(self.pool) else f"waiting guests: {len(self.pool)}"
        if kind in (OpKind.IDLE, OpKind.FAULT):
            return f"the CPU is at {kind.value}"
        if kind is OpKind.DONE and not self.program.moves:
            return "the CPU has finished"
        if drained:
            return ""
        parks = self.program.moves and kind in (OpKind.REST, OpKind.DONE)
        if parks or kind in (OpKind.LOCKED, OpKind.SERIALIZING) or not self._may_overtake(pending):
            return "its store buffer has to drain first"
        return ""

    def _may_overtake(self, pending: Pending) -> bool:
        """Whether this may come before the CPU's own store: under sc only what nobody sees."""
        return self._tso or not (pending.reads or pending.writes)

    def can_go_on(self, cpu: int) -> bool:
        """The CPU can make a step, or a store of its own has still to reach memory."""
        return bool(self.buffers[cpu]) or not self.obstacle(Move(cpu))

    def make(self, move: Move) -> ReplayStep:
        """Makes a move that has no obstacle."""
        cpu = move.cpu
        pending = self.program.pending(cpu, self.locals[cpu])
        label = pending.label
        trace: tuple[str, ...] = ()
        violations: tuple[Violation, ...] = ()
        if move.kind is MoveKind.DRAIN:
            label = "store reaches memory"
            self._store(self.buffers[cpu].pop(0))
        elif move.kind is MoveKind.TAKE:
            label = f"takes guest {move.guest}"
            guest = self.pool.pop(move.guest)
            self.locals[cpu] = self.program.resume(cpu, self.locals[cpu], guest)
        elif self.program.moves and pending.kind in (OpKind.REST, OpKind.DONE):
            self.locals[cpu], guest = self.program.park(cpu, self.locals[cpu])
            if pending.kind is OpKind.REST:
                self.pool.append(guest)
        else:
            values = tuple(self._seen(cpu, cell) for cell in pending.reads)
            outcome = self.program.step(cpu, self.locals[cpu], values)
            self.locals[cpu] = outcome.next
            trace, violations = tuple(outcome.trace), outcome.violations
            plain = pending.kind not in (OpKind.LOCKED, OpKind.SERIALIZING)
            if not (plain and (self._tso or pending.reads)):
                self._store(outcome.writes)
            elif outcome.writes:
                self.buffers[cpu].append(outcome.writes)
        return ReplayStep(move, label, trace, self.memory, tuple(self.locals), violations)

    def _seen(self, cpu: int, cell: Cell) -> Value:
        """The newest value in the own buffer, else memory."""
        for group in reversed(self.buffers[cpu]):
            for stored, value in reversed(group):
                if stored == cell:
                    return value
        return self.memory[cell]

    def _store(self, group: tuple[tuple[Cell, Value], ...]) -> None:
        memory = list(self.memory)
        for cell, value in group:
            memory[cell] = value
        self.memory = tuple(memory)
