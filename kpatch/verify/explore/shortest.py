"""The counterexample that a person wants: fewest preemptions, then fewest moves.

A preemption takes a CPU away that could go on and has not yielded. The search runs
over pairs of a canonical state and the CPU that moved last, cheapest first, without
partial-order reduction, since that runs steps before their time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

from kpatch.verify.explore.canonical import State
from kpatch.verify.explore.options import BoundHitError, Budget
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
            raise BoundHitError("shortest-states")
        if len(ways) % 256 == 0:
            budget.check()
        state, last = entry.node
        if space.has_fault(state):
            continue
        for successor in space.moves(state):
            preemptions = entry.preemptions + _is_preemption(space, state, last, successor)
            after = successor.state, _last(space, last, successor)
            reached = goal(successor)
            if preemptions > at_most or (after in ways and not reached):
                continue
            pushed += 1
            way = entry.node, successor
            next_entry = _Entry(preemptions, entry.length + 1, pushed, after, way, reached)
            heapq.heappush(waiting, next_entry)
    return None


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


def _is_preemption(space: Space, state: State, last: int, successor: Successor) -> bool:
    if last in (-1, successor.cpu) or successor.effect.kind is MoveKind.DRAIN:
        return False
    shape = state[last + 1]
    return space.shapes.kind(shape) not in YIELDING and space.can_go_on(state, last)


def _last(space: Space, last: int, successor: Successor) -> int:
    """The CPU that moved last, as a number in the new state.

    Of nameless CPUs that look the same it is the first: the search moves only that one.
    """
    if successor.effect.kind is MoveKind.DRAIN:
        if last == -1:
            return -1
        return space.first_alike(successor.state, successor.order.index(last))
    return space.first_alike(successor.state, successor.order.index(successor.cpu))
