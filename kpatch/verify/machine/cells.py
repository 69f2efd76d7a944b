"""Which shared memory the CPUs really share, found by running.

A cell is a run of bytes that somebody writes and no access splits. Shared bytes that nobody ever
writes are constants, and no cells. The set only grows; when it does, everything that was learned
with the smaller one is void, and the exploration starts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from kpatch.verify.hardware.cpustate import Access, Execution

StartBytes = tuple[tuple[int, bytes], ...]
"""Shared memory where a round may begin: physical addresses, and what lies there."""


class SharedMemoryGrewError(Exception):
    """A step touched shared memory in a way not seen before. Never leaves this package."""


@dataclass(frozen=True)
class CellRange:
    """A cell: physical addresses ``start <= address < end``."""

    start: int
    end: int


class SharedMemory:
    """The accesses seen so far, and the cells and visible instructions that follow from them."""

    def __init__(self) -> None:
        self._reads: set[tuple[int, int]] = set()
        self._writes: set[tuple[int, int]] = set()
        self.cells: tuple[CellRange, ...] = ()
        self._touched: dict[tuple[tuple[int, int], ...], tuple[int, ...]] = {}
        self.visible: set[int] = set()
        self.accessed: set[tuple[int, int, int]] = set()
        """Addresses of instructions, and the bytes that they touch: ``start <= byte < end``."""
        self.flow: set[tuple[int, int]] = set()
        """Addresses of instructions of which the second has followed the first."""

    def note(self, run: Execution, accesses: Iterable[Access]) -> None:
        """Take note of which instructions a run was, and what they touch."""
        self.flow.update(pairwise(run.trace))
        for access in accesses:
            bounds = access.physical, access.physical + access.size
            self.accessed.add((run.trace[access.step], *bounds))

    def learn(self, accesses: Iterable[Access]) -> bool:
        """Take note of accesses. True if the cells are others now."""
        known = len(self._reads) + len(self._writes)
        for access in accesses:
            seen = self._writes if access.write else self._reads
            seen.add((access.physical, access.physical + access.size))
        if known == len(self._reads) + len(self._writes):
            return False
        cells = self._cut()
        changed = cells != self.cells
        self.cells = cells
        self._touched.clear()
        return changed

    def touched(self, accesses: Iterable[Access]) -> tuple[int, ...]:
        """Indices of the cells that the accesses cover, which are known and in order."""
        wanted = tuple([(access.physical, access.physical + access.size) for access in accesses])
        found = self._touched.get(wanted)
        if found is None:
            found = self._touched[wanted] = tuple(
                index
                for index, cell in enumerate(self.cells)
                if any(low < cell.end and cell.start < high for low, high in wanted)
            )
        return found

    def holds(self, access: Access) -> bool:
        """Whether an access touches a cell at all."""
        low, high = access.physical, access.physical + access.size
        return any(low < cell.end and cell.start < high for cell in self.cells)

    def _cut(self) -> tuple[CellRange, ...]:
        edges = {edge for bounds in self._reads | self._writes for edge in bounds}
        cells: list[CellRange] = []
        for low, high in self._writes:
            cuts = sorted({low, high, *(edge for edge in edges if low < edge < high)})
            cells += map(CellRange, cuts, cuts[1:])
        return tuple(sorted(set(cells), key=lambda cell: cell.start))
