"""The guest's memory in one engine, and what of it is other than at the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kpatch.verify.hardware.cpustate import CHUNK
from kpatch.verify.hardware.memory import Arena, Region

Chunk = tuple[int, bytes]  # its number, and what it holds


class GuestMemory:
    """A private arena. ``touched`` are the chunks that may be other than they were at the start."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.touched: set[int] = set()
        self._start = bytes(arena.view)

    def changed(self) -> tuple[Chunk, ...]:
        """The chunks that are other than at the start, in order."""
        return tuple(self._changed())

    def restore(self, chunks: Iterable[Chunk]) -> None:
        """Make the memory what it was at the start, but for these chunks."""
        view, start, base = self.arena.view, self._start, self.arena.base
        wanted = dict(chunks)
        for chunk in self.touched.difference(wanted):
            at = chunk * CHUNK - base
            view[at : at + CHUNK] = start[at : at + CHUNK]
        for chunk, contents in wanted.items():
            at = chunk * CHUNK - base
            view[at : at + CHUNK] = contents
        self.touched.clear()
        self.touched.update(wanted)

    def write(self, physical: int, data: bytes) -> None:
        """Change it from outside."""
        self.arena.write(physical, data)
        last = physical + len(data) - 1
        self.touched.update(range(physical // CHUNK, last // CHUNK + 1))

    def forget(self, region: Region) -> None:
        """Make a region what it was at the start."""
        at = region.physical - self.arena.base
        self.arena.view[at : at + region.size] = self._start[at : at + region.size]

    def _changed(self) -> Iterator[Chunk]:
        view, start, base = self.arena.view, self._start, self.arena.base
        for chunk in sorted(self.touched):
            at = chunk * CHUNK - base
            now = bytes(view[at : at + CHUNK])
            if now != start[at : at + CHUNK]:
                yield chunk, now
