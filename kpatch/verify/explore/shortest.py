"""The counterexample that a person wants: fewest preemptions, then fewest moves.

A preemption takes a CPU away that could go on and has not yielded. The search runs
over pairs of a canonical state and the CPU that moved last, cheapest first, without
partial-order reduction, since that runs steps before their time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kpatch.verify.explore.bound import BoundHitError, BoundKind
from kpatch.verify.explore.canonical import State
from kpatch.verify.explore.options import Budget
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.space import Space, Successor
from kpatch.verify.explore.trace import YIELDING

Node = tuple[State, int]  # the CPU that moved last, -1 at the start
Goal = Callable[[Successor], bool]


def fewest_preemptions(
    space: Space, start: State, goal: Goal, budget: Budget, *, at_most: int, max_nodes: int
) -> list[Successor] | None:
    """The moves to the first successor that is a goal; None if there is none.

    Looks no further than ``at_most`` preemptions. Raises BoundHitError after ``max_nodes`` nodes
    or when the time is over.
    """
    ways: dict[Node, tuple[Node, Successor] | None] = {}
    moves = _Moves(space, goal)
    waiting = [_Entry(0, 0, 0, (start, -1), None)]
    pushed = 0
    while waiting:
        entry = heapq.heappop(waiting)
        if entry.is_goal:
            return _path(ways, entry.way)
        if entry.node in ways:
            continue
        ways[entry.node] = entry.way
        if len(ways) > max_nodes:
            raise BoundHitError(BoundKind.SHORTEST, "shortest-states")
        if len(ways) % 256 == 0:
            budget.check()
        state, last = entry.node
        if space.has_fault(state):
            continue
        may_go_on = last != -1 and _may_go_on(space, state, last)
        for successor, mover, reached in moves.of(state):
            if mover == -1:
                preemptions, mover = entry.preemptions, _still(space, last, successor)
            else:
                preemptions = entry.preemptions + (may_go_on and successor.cpu != last)
            after = successor.state, mover
            if preemptions > at_most or (after in ways and not reached):
                continue
            pushed += 1
            way = entry.node, successor
            next_entry = _Entry(preemptions, entry.length + 1, pushed, after, way, reached)
            heapq.heappush(waiting, next_entry)
    return None


class _Move(NamedTuple):
    """A move, and what does not depend on who moved before.

    ``mover`` is the CPU that has moved, as a number in the new state. It is -1 where a store has
    reached memory: then the CPU that moved last is the same as before.
    """

    successor: Successor
    mover: int
    is_goal: bool


class _Moves:
    """The moves in each state, worked out once: it is visited once for each CPU that moved last."""

    def __init__(self, space: Space, goal: Goal) -> None:
        self._space = space
        self._goal = goal
        self._known: dict[State, list[_Move]] = {}

    def of(self, state: State) -> list[_Move]:
        """All of them, in order."""
        known = self._known.get(state)
        if known is None:
            known = self._known[state] = list(self._made(state))
        return known

    def _made(self, state: State) -> Iterator[_Move]:
        for successor in self._space.moves(state):
            drains = successor.effect.kind is MoveKind.DRAIN
            mover = -1 if drains else _renamed(self._space, successor.cpu, successor)
            yield _Move(successor, mover, self._goal(successor))


class _Entry(NamedTuple):
    """A node that waits to be visited, cheapest first; ``pushed`` is different in each."""

    preemptions: int
    length: int
    pushed: int
    node: Node
    way: tuple[Node, Successor] | None
    is_goal: bool = False


def _path(
    ways: dict[Node, tuple[Node, Successor] | None], way: tuple[Node, Successor] | None
) -> list[Successor]:
    path = []
    while way is not None:
        node, successor = way
        path.append(successor)
        way = ways[node]
    return path[::-1]


def _may_go_on(space: Space, state: State, last: int) -> bool:
    """Whether it is a preemption if another CPU moves now."""
    return space.shapes.kind(state[last + 1]) not in YIELDING and space.can_go_on(state, last)


def _still(space: Space, last: int, successor: Successor) -> int:
    """The CPU that moved last, which a store that reaches memory leaves as it is."""
    return -1 if last == -1 else _renamed(space, last, successor)


def _renamed(space: Space, cpu: int, successor: Successor) -> int:
    """A CPU of the old state, as a number in the new one.

    Of nameless CPUs that look the same it is the first: the search moves only that one.
    """
    return space.first_alike(successor.state, successor.order.index(cpu))
