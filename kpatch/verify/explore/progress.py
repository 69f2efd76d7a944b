"""Progress: from every reachable state, every CPU can still finish.

Judged on the whole graph, backwards from the final states. A state from which none can be reached
is *lost*. What is lost is a deadlock if it ends in waiting: no move of its last
states changes the memory or the pool, ever. If the memory goes on changing, it is a livelock.
A loop that reads or pauses until something changes is no progress, and no harm as
long as a way out exists.
"""

from __future__ import annotations

from array import array
from itertools import accumulate

from kpatch.verify.explore.search import Graph


def lost_states(graph: Graph) -> list[int]:
    """The states from which no final state can be reached, in the order they were found.

    States in which a CPU has faulted are ends and not lost; they have their own violation.
    """
    saved = bytearray(len(graph.states))
    pending = [*graph.finals, *graph.faults]
    for state in pending:
        saved[state] = 1
    first, predecessors = _reversed(graph)
    while pending:
        state = pending.pop()
        for source in predecessors[first[state] : first[state + 1]]:
            if not saved[source]:
                saved[source] = 1
                pending.append(source)
    return [state for state in range(len(graph.states)) if not saved[state]]


def waiting_states(graph: Graph, lost: list[int]) -> list[int]:
    """Of the lost states, those after which nothing changes any more: deadlocks."""
    changing = [
        source for source, changed in zip(graph.sources, graph.changes, strict=True) if changed
    ]
    leading = _leading_to(graph, lost, changing)
    return [state for state in lost if state not in leading]


def endless_states(graph: Graph, lost: list[int], waiting: list[int]) -> list[int]:
    """Of the lost states, those that never come to wait: livelocks."""
    leading = _leading_to(graph, lost, waiting)
    return [state for state in lost if state not in leading]


def _leading_to(graph: Graph, lost: list[int], goals: list[int]) -> set[int]:
    """The lost states from which a goal can be reached, the goals among them."""
    predecessors: dict[int, list[int]] = {state: [] for state in lost}
    for source, target in zip(graph.sources, graph.targets, strict=True):
        if source in predecessors:  # then so is the target: no way out
            predecessors[target].append(source)
    leading = {goal for goal in goals if goal in predecessors}
    pending = list(leading)
    while pending:
        for source in predecessors[pending.pop()]:
            if source not in leading:
                leading.add(source)
                pending.append(source)
    return leading


def _reversed(graph: Graph) -> tuple[array[int], array[int]]:
    """The predecessors of state s are ``predecessors[first[s]:first[s + 1]]``."""
    counts = array("q", bytes(8 * (len(graph.states) + 1)))
    for target in graph.targets:
        counts[target + 1] += 1
    first = array("q", accumulate(counts))
    place = array("q", first)
    predecessors = array("q", bytes(8 * len(graph.targets)))
    for source, target in zip(graph.sources, graph.targets, strict=True):
        predecessors[place[target]] = source
        place[target] += 1
    return first, predecessors
