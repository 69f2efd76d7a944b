"""From a path through canonical states back to a schedule of the program itself."""

from __future__ import annotations

from itertools import pairwise

from kpatch.errors import VerificationError
from kpatch.verify.explore.canonical import State
from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.program import OpKind, Program
from kpatch.verify.explore.replay import ConcreteRun
from kpatch.verify.explore.schedule import Move, MoveKind, Schedule
from kpatch.verify.explore.space import Space, Start, Successor, Waited
from kpatch.verify.explore.steps import Effect

YIELDING = (OpKind.PAUSE, OpKind.REST, OpKind.DONE, OpKind.IDLE, OpKind.FAULT)


class Tracer:
    """Makes the moves of a path on the program, CPU by CPU, undoing the renamings."""

    def __init__(self, space: Space, program: Program, model: MemoryModel) -> None:
        self._space = space
        self._shapes = space.shapes
        self._run = ConcreteRun(program, model)
        self._schedule: list[Move] = []
        self._where: Names = tuple(range(program.cpus))
        self._state: State = ()
        self._last: int | None = None

    @property
    def schedule(self) -> Schedule:
        """The moves made so far."""
        return tuple(self._schedule)

    def begin(self, start: Start) -> None:
        """The steps before the first state: local and silent ones."""
        for cpu, run in enumerate(start.advances):
            self._make([Move(cpu)] * run.step_count)
        self._wait(start.waited)
        self._where = start.order
        self._state = start.state

    def follow(self, states: list[State], last: Effect | None) -> None:
        """From state to state, then the last move."""
        for state, following in pairwise(states):
            self.make(self._find(state, following, None))
        if last is not None:
            self.make(self._find(states[-1], None, last))

    def make(self, successor: Successor) -> None:
        """One move of the search; it may be several of the program."""
        self._prefer_last(successor.cpu)
        cpu, effect = self._where[successor.cpu], successor.effect
        moves = [Move(cpu)] * effect.step_count
        if effect.kind is MoveKind.DRAIN:
            moves = [Move(cpu, MoveKind.DRAIN), *moves]
        elif successor.guest is not None:
            orbit, marks = self._shapes.guests[successor.guest[0]]
            cpus = tuple(self._where[successor.guest[1][mark]] for mark in marks)
            guest = self._run.pool.index(self._shapes.naming.value(orbit, cpus))
            moves = [Move(cpu, MoveKind.TAKE, guest), *moves[1:]]
        self._make(moves)
        self._wait(successor.waited)
        self._where = tuple(self._where[old] for old in successor.order)
        self._state = successor.state
        if effect.kind is not MoveKind.DRAIN:
            self._last = cpu

    def _prefer_last(self, number: int) -> None:
        """If the CPU that moved last is interchangeable with the one to move, it is that one."""
        if self._last is None:
            return
        last = self._where.index(self._last)
        if self._space.first_alike(self._state, last) == number:
            where = list(self._where)
            where[last], where[number] = where[number], where[last]
            self._where = tuple(where)

    def _wait(self, waited: Waited) -> None:
        for cpu, count in waited:
            self._make([Move(self._where[cpu])] * count)

    def _find(self, state: State, following: State | None, effect: Effect | None) -> Successor:
        for successor in self._space.moves(state):
            if successor.state == following or successor.effect is effect:
                return successor
        raise does_not_replay("a state on the path has no such move")

    def _make(self, moves: list[Move]) -> None:
        for move in moves:
            problem = self._run.obstacle(move)
            if problem:
                raise does_not_replay(f"the move {move} cannot be made: {problem}")
            self._run.make(move)
            self._schedule.append(move)


def preemptions(program: Program, schedule: Schedule, model: MemoryModel) -> int:
    """How often a schedule takes a CPU away that could go on and has not yielded.

    Stores that drain are the memory's moves, no CPU's.
    """
    run = ConcreteRun(program, model)
    count, last = 0, None
    for move in schedule:
        if move.kind is not MoveKind.DRAIN:
            if last is not None and last != move.cpu:
                kind = program.pending(last, run.locals[last]).kind
                count += kind not in YIELDING and run.can_go_on(last)
            last = move.cpu
        run.make(move)
    return count


def does_not_replay(what: str) -> VerificationError:
    """The error for a counterexample that the program does not confirm."""
    return VerificationError(
        f"the counterexample does not replay: {what}",
        todo="report this as a bug of kpatch, with the module; it says nothing about the module",
    )
