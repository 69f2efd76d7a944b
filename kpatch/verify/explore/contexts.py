"""The memories that the search has met, as far as some cells of them go.

What a step does depends on the cells that it loads and stores, and on nothing else of the memory.
So what is claimed of a step under every memory need be looked at once for each contents of its
cells: for a waiting loop on one counter that is as many times as the counter has values, not as
there are memories.
"""

from __future__ import annotations

from collections.abc import Sequence

from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.program import Cell
from kpatch.verify.explore.shapes import Shapes
from kpatch.verify.explore.steps import pattern_of

Context = tuple[int, Names]
"""A memory, and the names of the CPUs that it refers to."""

Cells = tuple[Cell, ...]


class Contexts:
    """Grows only. Seen from a CPU that refers to no other."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._cpus = shapes.naming.program.cpus
        self._met: dict[int, None] = {}
        self._views: dict[Cells, dict[tuple[object, ...], int]] = {}
        self._lists: dict[Cells, list[Context]] = {}

    def meet(self, memory: int) -> bool:
        """Take note of a memory. False if it was met before."""
        if memory in self._met:
            return False
        self._met[memory] = None
        for cells in self._views:
            self._add(cells, memory)
        return True

    def differing_in(self, cells: Cells) -> Sequence[Context]:
        """One of all contexts that have the same in these cells. The list only grows."""
        if cells not in self._views:
            self._views[cells], self._lists[cells] = {}, []
            for memory in self._met:
                self._add(cells, memory)
        return self._lists[cells]

    def _add(self, cells: Cells, memory: int) -> None:
        """The memory, referring to the CPU itself in each possible place, or not at all."""
        view, contents = self._views[cells], self._shapes.memories[memory]
        references = self._shapes.memory_links[memory]
        owns: list[int | None] = list(range(references))
        if references < self._cpus:
            owns.append(None)
        for own in owns:
            pattern = pattern_of(references, own)
            # How many names there are is part of what a step is learned with.
            key = (
                max(pattern, default=0),
                *(
                    (contents[cell][0], tuple(pattern[mark] for mark in contents[cell][1]))
                    for cell in cells
                ),
            )
            if view.setdefault(key, len(view)) == len(self._lists[cells]):
                self._lists[cells].append((memory, pattern))
