"""Physical memory: bytes that several engines can map at once, and what lies where in them."""

from __future__ import annotations

import ctypes
import mmap
import resource
from collections.abc import Iterable
from dataclasses import dataclass

from kpatch.errors import MachineError
from kpatch.units import PAGE, Address, counted


def page_up(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def page_down(address: int) -> int:
    """The first address of the page of ``address``."""
    return address // PAGE * PAGE


def require_room(size: int) -> None:
    """Raise MachineError where no ``size`` bytes of address space are to be had."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError) as error:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        why = "" if limit == resource.RLIM_INFINITY else f"; the limit is {limit >> 20} MiB"
        raise MachineError(
            f"there is no address space for an emulated CPU{why}",
            todo="raise the limit (ulimit -v 4194304 is enough), or let 'kpatch apply --no-verify' "
            "leave out the proof",
        ) from error


class Arena:
    """A run of physical memory at ``base``, whole pages, zeroed, outside any engine.

    An engine maps it with ``mem_map_ptr``: the engines and Python then see the same bytes.
    The arena must outlive every engine that maps it.
    """

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = page_up(size)
        self._pages = mmap.mmap(-1, self.size)
        self.view = memoryview(self._pages)
        self.pointer = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))

    @property
    def end(self) -> int:
        """The physical address behind the last byte."""
        return self.base + self.size

    def read(self, physical: int, size: int) -> bytes:
        """``size`` bytes at a physical address inside the arena."""
        start = physical - self.base
        return bytes(self.view[start : start + size])

    def write(self, physical: int, data: bytes) -> None:
        """Replace the bytes at a physical address inside the arena."""
        start = physical - self.base
        self.view[start : start + len(data)] = data


@dataclass(frozen=True)
class Region:
    """A named run of bytes in an arena, and the address at which code names it.

    ``private`` memory belongs to the guest that runs: every engine has its own.
    """

    name: str
    virtual: Address
    physical: int
    size: int
    private: bool

    @property
    def end(self) -> int:
        """The virtual address behind the last byte."""
        return self.virtual + self.size

    def holds(self, virtual: int) -> bool:
        """Whether a virtual address lies in the region."""
        return self.virtual <= virtual < self.end

    def physical_of(self, virtual: int) -> int:
        """The physical address behind a virtual one inside the region."""
        return self.physical + (virtual - self.virtual)

    def holds_physical(self, physical: int, size: int = 1) -> bool:
        """Whether ``size`` bytes from a physical address on lie in the region."""
        return self.physical <= physical and physical + size <= self.physical + self.size

    def mapped_at(self, virtual: int, name: str = "") -> Region:
        """The same bytes at another virtual address; they keep their name if none is given."""
        return Region(name or self.name, Address(virtual), self.physical, self.size, self.private)

    def part(self, name: str, start: int, size: int) -> Region:
        """``size`` bytes from ``start`` of this region, under a name of their own."""
        return Region(
            name, Address(self.virtual + start), self.physical + start, size, self.private
        )


def place_name(regions: Iterable[Region], physical: int) -> str:
    """A place in physical memory, for messages: by the first region that holds it."""
    for region in regions:
        if region.holds_physical(physical):
            return f"{region.name}+{physical - region.physical:#x}"
    return f"physical memory at {physical:#x}"


class Bump:
    """Gives out whole pages of an arena, lowest first."""

    def __init__(self, arena: Arena, first: int | None = None, end: int | None = None) -> None:
        """Between two physical addresses; all of the arena, if none are given."""
        self._next = arena.base if first is None else first
        self._end = arena.end if end is None else end

    def pages(self, size: int) -> int:
        """The physical address of ``size`` bytes, rounded up to pages. MemoryError when full."""
        start = self._next
        if start + page_up(size) > self._end:
            raise MemoryError(
                f"no room for {counted(size, 'byte')} below {self._end:#x} in an arena"
            )
        self._next += page_up(size)
        return start

    def region(self, name: str, virtual: int, size: int, *, private: bool) -> Region:
        """A new region of whole pages that starts at the page of ``virtual``."""
        return Region(name, Address(virtual), self.pages(size), page_up(size), private)
