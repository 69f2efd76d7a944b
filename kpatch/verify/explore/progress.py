"""Progress: from every reachable state, every CPU can still finish.

Judged on the whole graph, backwards from the final states. A state from which none can be reached
is *lost*. What is lost is a deadlock if it ends in waiting: no move of its last
states changes the memory or the pool, ever. If the memory goes on changing, it is a livelock.
A loop that reads or pauses until something changes is no progress, and no harm as
long as a way out exists.

Where CPUs may stay away, more must hold: whoever is inside of a round can finish it without help
from outside. A CPU is *outside* before its first round, between two, and behind its last; local
steps do not bring it in. Two things are checked, for every reachable state:

1. moves of the CPUs inside alone lead to a *quiet* state, in which nobody is inside;
2. in a quiet state each CPU that has a round left can enter and finish it alone.

Then every set S of CPUs makes progress when the others never come, or never come again. For take
any state that the CPUs of S have reached by themselves. By 1 they reach a quiet state without
anybody else; by 2 any of them that has a round left makes it, alone. That is one round less,
and 1 and 2 hold in the new state as well, so all of them end. In particular (S = all) a
final state can be reached from everywhere.

Which CPUs are outside is told by their shapes, and some shape may stand for CPUs on both sides (a
twin of a CPU at the entry, a place in a spin loop). It is then taken to be outside: in 1 it may
not move, in 2 it has to finish by itself. So what passes is right; and the CPU that is really
outside has the same future, so it passes too if the other does.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, compress
from operator import and_

from kpatch.verify.explore.counted import STAYS
from kpatch.verify.explore.graph import Graph

Predecessors = tuple["array[int]", "array[int]"]  # see _reversed


def lost_states(graph: Graph) -> list[int]:
    """The states from which no final state can be reached, in the order they were found.

    States in which a CPU has faulted are ends and not lost; they have their own violation.
    """
    backwards = _reversed(graph, bytes(b"\1" * len(graph.targets)))
    saved = _reaching(graph, backwards, [*graph.finals, *graph.faults])
    return [state for state in range(len(graph.states)) if not saved[state]]


def dependent_states(graph: Graph, outside: frozenset[int]) -> list[int]:
    """The states from which a CPU inside cannot finish without one that is outside.

    ``outside`` are the shapes of CPUs that may be. After an entry without an effect (STAYS in the
    graph's ``ends``) the same is asked of the next state; one that goes round for ever so, pausing
    say, never begins its round.
    """
    shapes = 1 + max(max(graph.movers, default=0), max(outside, default=0))
    is_inside = bytearray(b"\1" * shapes)
    for shape in outside:
        is_inside[shape] = 0
    inside = bytes(map(is_inside.__getitem__, graph.movers))
    backwards = _reversed(graph, inside)
    quiet = bytearray(b"\1" * len(graph.states))
    for source in set(compress(graph.sources, inside)):
        quiet[source] = 0
    settles = _reaching(graph, backwards, [*compress(range(len(quiet)), quiet), *graph.faults])
    ending = set(compress(graph.sources, map(and_, inside, graph.ends)))
    finishes = _reaching(graph, backwards, [*ending, *graph.faults])
    found = {state for state, settled in enumerate(settles) if not settled}
    entries = compress(
        zip(graph.targets, graph.ends, strict=True), map(quiet.__getitem__, graph.sources)
    )
    found.update(target for target, ends in entries if not (ends or finishes[target]))
    found.update(_going_round(graph, quiet))
    return sorted(found)


def _going_round(graph: Graph, quiet: bytearray) -> set[int]:
    """The quiet states from which entries without an effect may go on for ever.

    Such a move leaves the memory alone, and its CPU has no other (but for the choice of a guest).
    So where moves of several CPUs make a cycle, one of them makes a cycle by itself.
    """
    following: dict[int, list[int]] = {}
    before: dict[int, list[int]] = {}
    for source, target, ends in zip(graph.sources, graph.targets, graph.ends, strict=True):
        if ends == STAYS and quiet[source]:
            following.setdefault(source, []).append(target)
            before.setdefault(target, []).append(source)
    left = {source: len(targets) for source, targets in following.items()}
    ended = [target for target in before if target not in left]
    while ended:
        for source in before.get(ended.pop(), ()):
            left[source] -= 1
            if not left[source]:
                del left[source]
                ended.append(source)
    return set(left)


def _reaching(graph: Graph, backwards: Predecessors, goals: list[int]) -> bytearray:
    """For each state whether the moves that are reversed lead from it to a goal."""
    reaching = bytearray(len(graph.states))
    for goal in goals:
        reaching[goal] = 1
    first, predecessors = backwards
    while goals:
        state = goals.pop()
        for source in predecessors[first[state] : first[state + 1]]:
            if not reaching[source]:
                reaching[source] = 1
                goals.append(source)
    return reaching


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


def _reversed(graph: Graph, allowed: bytes) -> Predecessors:
    """By allowed moves the predecessors of state s are ``predecessors[first[s]:first[s + 1]]``."""
    counts = array("q", bytes(8 * (len(graph.states) + 1)))
    for target in compress(graph.targets, allowed):
        counts[target + 1] += 1
    first = array("q", accumulate(counts))
    place = array("q", first)
    predecessors = array("q", bytes(8 * first[-1]))
    moves = zip(graph.sources, graph.targets, strict=True)
    for source, target in compress(moves, allowed):
        predecessors[place[target]] = source
        place[target] += 1
    return first, predecessors
