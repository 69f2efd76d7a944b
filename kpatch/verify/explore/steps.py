"""What one move does, on orbits and names: memory models, and local steps run eagerly.

Everything here is a function of one CPU's *shape* (its local orbit and its store buffer), the
memory, and which of the CPUs that they refer to are the same. Its results are kept,
so that the search itself is table look-up.

Local steps (the partial-order reduction). A step is *local* when it neither reads nor changes what
another CPU can see: no cells, PAUSE, REST, parking a guest; under TSO also a store without a load,
which only enters the CPU's own buffer. (Under SC a buffer holds what an instruction without LOCK
stores after its load; until that has reached memory, the CPU makes no other steps than local ones.)
A local step commutes with every move of the others and with the drains of its own CPU, nothing
disables it, and it is the only step its CPU can make. So it may run at once after the move that led
to it, as part of that move. Every state of the full graph then has a counterpart, itself after all
pending local steps, in the reduced graph, reached by the same moves in another order; it can reach
a final state if and only if the other can. Violations are results of steps, not of orders, so none
is lost. A CPU that makes local steps for ever is no trouble: the chain stops where it would repeat
a state, or after ``MAX_CHAIN`` steps, and goes on in the next move, as a step among others (no
ignored CPU).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from kpatch.errors import VerificationError
from kpatch.verify.explore.naming import NamedOutcome, NamedValue, Names
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.program import OpKind, Violation
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import Cpu, Group, ShapeKind, Shapes

MAX_CHAIN = 1000  # local steps in a row within one move

_DRAINED_FIRST = (OpKind.LOCKED, OpKind.SERIALIZING)  # SDM vol. 3, 8.2.2, 8.1.2.2 and 8.3
_ENDS = (OpKind.REST, OpKind.DONE)
_BETWEEN_ROUNDS = (*_ENDS, OpKind.IDLE)


class Effect(NamedTuple):
    """What a move does, in names.

    ``step_count`` counts the steps of the program that it consists of. ``changes``: another CPU
    could tell, because the memory or the pool is not what it was. ``held_up``: the CPU then wants
    to store, and its store buffer is full. ``ends_round``: the CPU came to the end of a round.
    ``outside``: nobody could tell if the CPU had not begun the next one.
    """

    kind: MoveKind
    step_count: int
    shape: int
    links: Names
    memory: int
    memory_links: Names
    guest: tuple[int, Names] | None
    violations: tuple[Violation, ...]
    phase: ShapeKind
    changes: bool
    held_up: bool
    ends_round: bool
    outside: bool


class Advance(NamedTuple):
    """A CPU on its way through one move.

    ``outside``: it is between two rounds, or has made no step of the next one that another CPU
    could ever tell. ``ends_round``: on its way it came to the end of a round.
    """

    cpu: Cpu
    step_count: int
    violations: tuple[Violation, ...] = ()
    cells: tuple[NamedValue, ...] = ()
    guest: tuple[int, Names] | None = None
    outside: bool = False
    ends_round: bool = False


class Steps:
    """The effects of moves, each worked out once."""

    def __init__(self, shapes: Shapes, options: Options) -> None:
        self.shapes = shapes
        self._naming = shapes.naming
        self._cpus = shapes.naming.program.cpus
        self._moves = shapes.naming.program.moves
        self._tso = options.model is MemoryModel.TSO
        self._eager = options.por
        self._entries = options.buffer_entries
        self._effects: dict[tuple[int, int, Names], tuple[Effect, ...]] = {}
        self._takes: dict[tuple[int, int, Names], Effect] = {}
        self._entries_of_rounds: set[int] = set()  # orbits in which a round may begin

    def effects(self, shape: int, memory: int, pattern: Names) -> tuple[Effect, ...]:
        """The moves of one CPU other than taking a guest.

        ``pattern`` has the names of the CPUs that the memory refers to. The CPUs that the shape
        refers to have the names 1, 2, ... in order.
        """
        key = (shape, memory, pattern)
        found = self._effects.get(key)
        if found is None:
            found = self._effects[key] = tuple(self._all_effects(shape, memory, pattern))
        return found

    def take(self, shape: int, guest: int, pattern: Names) -> Effect | None:
        """The idle CPU takes this guest; ``pattern`` has the names that the guest refers to.

        The memory is left alone: ``memory`` of the effect is -1. None if the CPU is not idle.
        """
        cpu = self.shapes.cpus[shape]
        if self._naming.pending(cpu.local[0]).kind is not OpKind.IDLE:
            return None
        key = (shape, guest, pattern)
        found = self._takes.get(key)
        if found is None:
            count = self.count(shape, pattern)
            orbit, marks = self.shapes.guests[guest]
            value = orbit, tuple(pattern[mark] for mark in marks)
            local = self._naming.resume(cpu.local, value, count)
            settled = self.settle(self._at_entry(Advance(Cpu(local), 1)), count)
            found = self._takes[key] = self._effect(MoveKind.TAKE, settled)
        return found

    def settle(self, run: Advance, count: int) -> Advance:
        """Runs the local steps that come next, if local steps are run eagerly."""
        seen = {run.cpu}
        while self._eager and len(seen) <= MAX_CHAIN:
            if run.cpu.local[0] in self._entries_of_rounds and self._stores_next(run.cpu):
                return run  # a CPU that begins a round may as well stay away
            after = self._local_step(run, count)
            if after is None or after.cpu in seen:
                return run
            run = after
            seen.add(run.cpu)
        return run

    def begin(self, cpu: Cpu) -> Advance:
        """A CPU at the start of the program, where its first round begins."""
        return self._at_entry(Advance(cpu, 0))

    def is_outside(self, shape: int) -> bool:
        """Whether a CPU of this shape may be between two rounds, so that it need not come back."""
        cpu = self.shapes.cpus[shape]
        if cpu.buffer:
            return False
        return cpu.local[0] in self._entries_of_rounds or self.shapes.kind(shape) in _BETWEEN_ROUNDS

    def _at_entry(self, run: Advance) -> Advance:
        self._entries_of_rounds.add(run.cpu.local[0])
        return run._replace(outside=True)

    def _stores_next(self, cpu: Cpu) -> bool:
        return bool(self._naming.pending(cpu.local[0]).writes)

    def count(self, shape: int, pattern: Names = ()) -> int:
        """How many names are in use; all of them as soon as only one CPU has none."""
        count = max((self.shapes.links[shape], *pattern)) + 1
        return self._cpus if count == self._cpus - 1 else count

    def _all_effects(self, shape: int, memory: int, pattern: Names) -> list[Effect]:
        cpu = self.shapes.cpus[shape]  # its marks are its names
        cells = tuple(
            (orbit, tuple(pattern[mark] for mark in marks))
            for orbit, marks in self.shapes.memories[memory]
        )
        count = self.count(shape, pattern)
        if self.shapes.phases[shape] is ShapeKind.FAULT:
            return []
        effects = []
        run = self._step(cpu, cells, count)
        if run is not None:
            effects.append(self._effect(MoveKind.RUN, self.settle(run, count), cells))
        if cpu.buffer:
            drained = Advance(
                Cpu(cpu.local, cpu.buffer[1:]), 0, cells=_stored(cells, cpu.buffer[0])
            )
            effects.append(self._effect(MoveKind.DRAIN, self.settle(drained, count), cells))
        return effects

    def _step(self, cpu: Cpu, cells: tuple[NamedValue, ...], count: int) -> Advance | None:
        """One step of the program, or None if it has to wait or there is none."""
        pending = self._naming.pending(cpu.local[0])
        between = pending.kind in _BETWEEN_ROUNDS or cpu.local[0] in self._entries_of_rounds
        local = self._local_step(Advance(cpu, 0, cells=cells, outside=between), count)
        if local is not None:
            return local
        if cpu.buffer and (pending.kind in _DRAINED_FIRST or not self._tso):
            return None
        if pending.kind not in (*_DRAINED_FIRST, OpKind.PLAIN) or self.held_up(cpu):
            return None
        newest = dict(enumerate(cells)) | {c: v for group in cpu.buffer for c, v in group}
        reads = tuple(newest[cell] for cell in pending.reads)
        outcome = self._outcome(cpu, reads, count)
        if pending.kind is OpKind.PLAIN and (self._tso or pending.reads):
            added = (outcome.writes,) if outcome.writes else ()
            after = Cpu(outcome.next, cpu.buffer + added)
        else:
            cells = _stored(cells, outcome.writes)
            after = Cpu(outcome.next, cpu.buffer)
        over = self._naming.pending(outcome.next[0]).kind in _ENDS
        return Advance(after, 1, outcome.violations, cells, ends_round=over)

    def _local_step(self, run: Advance, count: int) -> Advance | None:
        """The next step, if it is local and can run."""
        cpu = run.cpu
        pending = self._naming.pending(cpu.local[0])
        if self._moves and pending.kind in (OpKind.REST, OpKind.DONE):
            return self._parked(run, pending.kind, count)
        if pending.kind in (OpKind.DONE, OpKind.IDLE, OpKind.FAULT) or pending.reads:
            return None
        if pending.kind in _DRAINED_FIRST and (pending.writes or cpu.buffer):
            return None
        if pending.writes and (not self._tso or self.held_up(cpu)):
            return None
        outcome = self._outcome(cpu, (), count)
        added = (outcome.writes,) if outcome.writes else ()
        after = Advance(
            Cpu(outcome.next, cpu.buffer + added),
            run.step_count + 1,
            run.violations + outcome.violations,
            run.cells,
            run.guest,
            ends_round=run.ends_round or self._naming.pending(outcome.next[0]).kind in _ENDS,
        )
        stays = pending.kind is OpKind.REST or (run.outside and not pending.writes)
        return self._at_entry(after) if stays else after

    def _outcome(self, cpu: Cpu, reads: tuple[NamedValue, ...], count: int) -> NamedOutcome:
        outcome = self._naming.step(cpu.local, reads, count)
        pending = self._naming.pending(cpu.local[0])
        if not {cell for cell, _ in outcome.writes}.issubset(pending.writes):
            raise VerificationError(
                "the program stores to a cell that it did not announce",
                where=pending.label,
                todo="this is a bug in the model of the program, not in the module",
            )
        return outcome

    def _parked(self, run: Advance, kind: OpKind, count: int) -> Advance | None:
        """The guest leaves; the scheduler's own locked operations have drained the buffer."""
        if run.cpu.buffer:
            return None
        idle, guest = self._naming.park(run.cpu.local, count)
        kept = self.shapes.of_guest(guest) if kind is OpKind.REST else None
        steps = run.step_count + 1
        return Advance(Cpu(idle), steps, run.violations, run.cells, kept, True, run.ends_round)

    def held_up(self, cpu: Cpu) -> bool:
        """The CPU wants to store, and its store buffer is full."""
        pending = self._naming.pending(cpu.local[0])
        stores = self._tso and pending.kind is OpKind.PLAIN and bool(pending.writes)
        return stores and len(cpu.buffer) >= self._entries

    def _effect(
        self, kind: MoveKind, run: Advance, cells: tuple[NamedValue, ...] | None = None
    ) -> Effect:
        """``cells`` is the memory before the move; where it is None, the pool has changed."""
        shape, links = self.shapes.of_cpu(run.cpu)
        memory, memory_links = (-1, ()) if cells is None else self.shapes.of_memory(run.cells)
        return Effect(
            kind,
            run.step_count,
            shape,
            links,
            memory,
            memory_links,
            run.guest,
            run.violations,
            self.shapes.phases[shape],
            changes=run.cells != cells or run.guest is not None,
            held_up=self.held_up(run.cpu),
            ends_round=run.ends_round,
            outside=run.outside,
        )


def _stored(cells: tuple[NamedValue, ...], group: Group) -> tuple[NamedValue, ...]:
    changed = list(cells)
    for cell, value in group:
        changed[cell] = value
    return tuple(changed)


@cache
def pattern_of(references: int, own: int | None) -> Names:
    """The names of the CPUs that a memory refers to, seen from a CPU without links.

    ``own`` is the place in which the memory refers to that CPU itself; None, or a number too
    high, if it does not.
    """
    if own is None or own >= references:
        return tuple(range(1, references + 1))
    return (*range(1, own + 1), 0, *range(own + 1, references))
