"""Every byte of every access to memory: whose it is, and whether other CPUs can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE

from kpatch.units import counted
from kpatch.verify.hardware.cpustate import CHUNK, Access, Execution, Territory
from kpatch.verify.hardware.guestmemory import GuestMemory
from kpatch.verify.hardware.hooks import Hooks
from kpatch.verify.hardware.memory import Arena, Region, place_name

_WIDEST: Final = 8
"""Bytes of the largest access that Unicorn reports; wider ones come in parts of this size."""

Fail = Callable[[str, str], None]


class Ledger:
    """What a run has read and written, by physical address.

    What Unicorn 2.1.4 does, measured: hooks come before the access. An access is reported once,
    with its first address and its whole size, also where it goes on in another page: pages that
    are neighbours by virtual address have to be so by physical address, and are in this world. A
    ranged hook looks at the first byte of an access alone.
    """

    def __init__(
        self, shared: Arena, guest: GuestMemory, places: Sequence[Region], fail: Fail
    ) -> None:
        """``fail`` is called with the property that an access breaks, and how."""
        self.count = 0
        self.touched = guest.touched
        self._arenas = (shared, guest.arena)
        self._places = tuple(places)
        self._fail = fail
        # Writes found to be of the guest's own memory: address and size, and their chunks.
        self._own: dict[tuple[int, int], frozenset[int]] = {}
        # Reads that are no finding: address and size, and their parts.
        self._read: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
        self._territory = Territory(frozenset(), (), (), None, ())
        self.begin(Execution(), self._territory)

    def watch_writes(self, hooks: Hooks) -> None:
        """See the writes of an engine."""
        hooks.add_accesses(UC_HOOK_MEM_WRITE, self._on_write)

    def watch_reads(self, hooks: Hooks, ranges: Sequence[tuple[int, int]]) -> None:
        """See the reads of any byte in these ranges, too."""
        hooked: list[tuple[int, int]] = []
        for low, high in sorted((max(0, low - _WIDEST + 1), high) for low, high in ranges):
            if hooked and low < hooked[-1][1]:  # two hooks would report one access twice
                hooked[-1] = hooked[-1][0], max(high, hooked[-1][1])
            else:
                hooked.append((low, high))
        for low, high in hooked:
            hooks.add_accesses(UC_HOOK_MEM_READ, self._on_read, low, high - 1)

    def begin(self, run: Execution, territory: Territory) -> None:
        """From here on accesses belong to ``run``, on a CPU that may touch ``territory``."""
        self.count = 0
        self._run = run
        before, self._territory = self._territory, territory
        if territory is not before:
            if (territory.private, territory.edges) != (before.private, before.edges):
                self._own.clear()
            if (territory.watched, territory.foreign) != (before.watched, before.foreign):
                self._read.clear()
        self._undo: list[tuple[Arena, int, bytes]] = []

    def undo(self) -> None:
        """Take back what was written outside of the territory."""
        for arena, physical, old in reversed(self._undo):
            arena.write(physical, old)

    def _on_write(self, physical: int, size: int) -> None:
        self.count += 1
        chunks = self._own.get((physical, size))
        if chunks is not None:
            self.touched.update(chunks)
        else:
            self._first_write(physical, size)

    def _first_write(self, physical: int, size: int) -> None:
        """A write to a place that is not known to be the guest's own."""
        territory = self._territory
        chunks = frozenset(range(physical // CHUNK, (physical + size - 1) // CHUNK + 1))
        if all(chunk in territory.private for chunk in chunks) or _inside(
            territory.edges, physical, size
        ):
            self._own[physical, size] = chunks
            self.touched.update(chunks)
        elif _inside(territory.watched, physical, size):
            self._note(True, self._parts(physical, size))
        elif territory.owned is None or not _inside((territory.owned,), physical, size):
            for arena in self._arenas:
                if arena.base <= physical and physical + size <= arena.end:
                    self._undo.append((arena, physical, arena.read(physical, size)))
            self._fail(
                "footprint",
                f"writes {counted(size, 'byte')} of {place_name(self._places, physical)}",
            )

    def _on_read(self, physical: int, size: int) -> None:
        parts = self._read.get((physical, size))
        if parts is None:
            parts = self._first_read(physical, size)
        self._note(False, parts)
        self.count += 1

    def _first_read(self, physical: int, size: int) -> tuple[tuple[int, int], ...]:
        """The parts of a read that is not known yet. What is a finding will not be known."""
        parts = tuple(self._parts(physical, size))
        for low, high in self._territory.foreign:
            if low < physical + size and physical < high:
                place = place_name(self._places, max(low, physical))
                self._fail("footprint", f"reads {place} of another CPU")
                return parts
        self._read[physical, size] = parts
        return parts

    def _note(self, write: bool, parts: Iterable[tuple[int, int]]) -> None:
        step = len(self._run.trace) - 1
        for start, size in parts:
            self._run.accesses.append(Access(step, write, start, size))

    def _parts(self, physical: int, size: int) -> Iterator[tuple[int, int]]:
        """The parts of an access that lie in watched memory; what lies beside it is constant.

        Each part is one access to any CPU: what lies within aligned 8 bytes is (AMD64 manual vol.
        2, 7.3.2). SDM vol. 3, 8.1.1, promises more, but not for the CPUs of AMD.
        """
        for low, high in self._territory.watched:
            start, end = max(low, physical), min(high, physical + size)
            while start < end:
                part = min(end, (start // _WIDEST + 1) * _WIDEST)
                yield start, part - start
                start = part


def _inside(ranges: Sequence[tuple[int, int]], physical: int, size: int) -> bool:
    return any(low <= physical and physical + size <= high for low, high in ranges)
