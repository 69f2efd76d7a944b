"""Where a thread's memory lies: every guest has its stack, image and state at addresses of its own.

The bytes are at the same *physical* addresses whichever guest it is, each CPU has its own of them,
and a guest that moves is a copy of bytes. But they are mapped elsewhere for each guest, in page
tables that have nothing of the other guests' (a process has page tables of its own anyway): a
pointer to one thread's stack, handed to another CPU, faults there, or is found to be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kpatch.units import PAGE
from kpatch.verify.hardware.memory import Bump, Region
from kpatch.verify.hardware.paging import AddressSpace
from kpatch.verify.world.worldswitch import SwitchLayout

_APART: Final = 0x1_0400_0000
"""From one guest's memory to the next one's: neither half of an address is that of another."""

_PAGE_BITS: Final = 0xFFFF_F000
"""The lower half of an address, without the place in a page."""


@dataclass(frozen=True)
class Seat:
    """The addresses of one guest: what is mapped in the host's tables, and both roots (cr3)."""

    stack: Region
    copy: Region
    state: Region
    host_root: int
    monitor_root: int

    @property
    def roots(self) -> frozenset[int]:
        """What cr3 may be while this guest is on a CPU."""
        return frozenset({self.host_root, self.monitor_root})

    def registers(self, layout: SwitchLayout, rsp: int) -> Mapping[str, int]:
        """What kqemu_exec calls the switch with; ``rsp`` is a distance from the stack's start."""
        return {
            "cr3": self.host_root,
            "rdi": self.state.virtual,
            "rsp": self.stack.virtual + rsp,
            "rip": self.copy.virtual + layout.kernel_to_monitor,
        }

    def fields(self, layout: SwitchLayout) -> Iterator[tuple[int, bytes]]:
        """The fields of the state that are not the same for every guest."""
        yield layout.kernel_address, struct.pack("<Q", self.state.virtual)
        yield layout.nexus_address, struct.pack("<Q", self.copy.virtual + layout.nexus_to)
        if layout.kernel_jump is not None:
            back = self.copy.virtual + layout.kernel_side
            yield layout.kernel_jump, struct.pack("<Q", back)
        yield layout.monitor_cr3, struct.pack("<Q", self.monitor_root)


def seats(
    host: tuple[AddressSpace, Bump],
    monitor: tuple[AddressSpace, Bump],
    regions: Sequence[Region],
    count: int,
) -> tuple[Seat, ...]:
    """Addresses for ``count`` guests. ``host`` and ``monitor`` are what both map for all, and pages
    for tables; ``regions`` are the first guest's stack, image and state.
    """
    made = []
    for number in range(count):
        own_host, own_monitor = (space.branch(pages) for space, pages in (host, monitor))
        distances = _distances(number, *regions)
        stack, copy, state = (
            region.mapped_at(region.virtual + by)
            for region, by in zip(regions, distances, strict=True)
        )
        for region in (stack, copy, state):
            own_host.map(region, is_global=True)
        own_monitor.map(copy.part("image", 0, PAGE))
        made.append(Seat(stack, copy, state, own_host.root, own_monitor.root))
    return tuple(made)


def _distances(number: int, stack: Region, copy: Region, state: Region) -> tuple[int, int, int]:
    """How far a guest's regions are from the first one's; image and state are one allocation.

    The addresses that the second guest's thread has in its registers differ from the first one's in
    each bit that can be another one, and the third's image does from the first one's: a patch may
    not do one thing for one thread and another for the next.
    """
    match number:
        case 1:
            own, allocated = _opposite(stack.end - PAGE), _opposite(state.virtual)
        case 2:
            own, allocated = _opposite(stack.virtual), _opposite(copy.virtual)
        case _:
            return number * _APART, number * _APART, number * _APART
    above = number * (_APART & ~0xFFFF_FFFF)
    return above + own, above + allocated, above + allocated


def _opposite(address: int) -> int:
    """From an address to the one that has none of its bits, within the lower half."""
    return (~address & _PAGE_BITS) - (address & _PAGE_BITS)
