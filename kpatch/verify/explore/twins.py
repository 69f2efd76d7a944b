"""Twins: shapes of CPUs that make the same moves, of which one stands for the other.

Twins are shapes whose next move is the same, down to the shape it leads to, under every memory
that the search meets, such as a CPU before its first attempt at the lock, and one that comes
back to it with something else in a dead register; or one that has looked at what it waits for, and
one that has not. They are one shape to the search (they are strongly bisimilar).

Only shapes with an empty store buffer that refer to no other CPU can be twins.
"""

from __future__ import annotations

from collections.abc import Iterator

from kpatch.verify.explore.contexts import Cells, Context, Contexts
from kpatch.verify.explore.steps import Steps


class Twins:
    """Knows which shape stands for another one. Checked under every memory that was met."""

    def __init__(self, steps: Steps, contexts: Contexts) -> None:
        self._steps = steps
        self._contexts = contexts
        self._stands_for: dict[int, int] = {}  # a shape, and the smaller one that stands for it
        self._seen: dict[int, int] = {}  # how many of the contexts that count were looked at
        self._refused: set[tuple[int, int]] = set()

    def stand_in(self, shape: int, way: list[int]) -> int:
        """The shape that stands for this one. ``way`` gets what was looked at."""
        way.append(shape)
        while shape in self._stands_for:
            shape = self._stands_for[shape]
            way.append(shape)
        return shape

    def look_for(self, one: int, other: int) -> bool:
        """Whether two shapes make the same moves; then the smaller one stands for the other."""
        shape, smaller = max(one, other), min(one, other)
        if shape == smaller or (shape, smaller) in self._refused or shape in self._stands_for:
            return False
        self._seen[shape] = 0
        if not self._are_alike(shape, smaller):
            return False
        self._stands_for[shape] = smaller
        return True

    def part(self) -> Iterator[int]:
        """The shapes that, under a memory met since, turn out to be none. They are none after."""
        for shape, other in tuple(self._stands_for.items()):
            if not self._are_alike(shape, other):
                self._refused.add((shape, other))
                del self._stands_for[shape]
                yield shape

    def _are_alike(self, shape: int, other: int) -> bool:
        """Whether they make the same moves under every memory met, the new ones among them."""
        cells = tuple(sorted({*touched(self._steps, shape), *touched(self._steps, other)}))
        contexts = self._contexts.differing_in(cells)
        seen, self._seen[shape] = self._seen[shape], len(contexts)
        return all(self._same_moves(shape, other, context) for context in contexts[seen:])

    def _same_moves(self, shape: int, other: int, context: Context) -> bool:
        shapes = self._steps.shapes
        if shapes.phases[shape] is not shapes.phases[other]:
            return False
        if any(shapes.links[each] or shapes.cpus[each].buffer for each in (shape, other)):
            return False
        moves = self._steps.effects(shape, *context)
        return bool(moves) and moves == self._steps.effects(other, *context)


def touched(steps: Steps, shape: int) -> Cells:
    """The cells that a CPU of this shape is about to load and store."""
    shapes = steps.shapes
    pending = shapes.naming.pending(shapes.cpus[shape].local[0])
    return (*pending.reads, *pending.writes)
