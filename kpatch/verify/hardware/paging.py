"""Four-level page tables (SDM vol. 3, 4.5), built by hand as the kernel would have them."""

from __future__ import annotations

import struct
from typing import Final

from kpatch.units import PAGE
from kpatch.verify.hardware.memory import Arena, Bump, Region, page_down

PRESENT: Final = 1 << 0
WRITABLE: Final = 1 << 1
ACCESSED: Final = 1 << 5
DIRTY: Final = 1 << 6
GLOBAL: Final = 1 << 8
ADDRESS: Final = 0x000F_FFFF_FFFF_F000

# Accessed and dirty are set from the start: the engine would set them on the first access, and
# that would be a write to memory that the module under test did not make.
_TABLE: Final = PRESENT | WRITABLE | ACCESSED
_LEAF: Final = PRESENT | ACCESSED | DIRTY
_SPAN: Final = 512 * PAGE
"""Bytes that the last level of tables maps with one table."""


class AddressSpace:
    """One tree of page tables. ``root`` is what goes into cr3."""

    def __init__(self, arena: Arena, pages: Bump) -> None:
        self._arena = arena
        self._pages = pages
        self.root = pages.pages(PAGE)

    def branch(self, pages: Bump) -> AddressSpace:
        """Another tree, with everything that this one maps now; what it maps on top is its own,
        in pages of ``pages``.

        Only where that lies in other parts of 512 GB: below the root the tables are shared.
        """
        branched = AddressSpace(self._arena, pages)
        self._arena.write(branched.root, self._arena.read(self.root, PAGE))
        return branched

    def map(self, region: Region, *, writable: bool = True, is_global: bool = False) -> None:
        """Map every page of a region at its virtual address, for the kernel only.

        The region's physical and virtual address must agree in their low twelve bits.
        """
        flags = _LEAF | (WRITABLE if writable else 0) | (GLOBAL if is_global else 0)
        virtual, physical = page_down(region.virtual), page_down(region.physical)
        while virtual < region.end:
            end = min(region.end, (virtual // _SPAN + 1) * _SPAN)
            table = self.root
            for shift in (39, 30, 21):
                table = self._below(table, virtual >> shift & 0x1FF)
            entries = range(physical | flags, (physical | flags) + end - virtual, PAGE)
            self._store(table, virtual >> 12 & 0x1FF, *entries)
            virtual, physical = end, physical + end - virtual

    def _below(self, table: int, index: int) -> int:
        entry = self._load(table, index)
        if not entry & PRESENT:
            entry = self._pages.pages(PAGE) | _TABLE
            self._store(table, index, entry)
        return entry & ADDRESS

    def _load(self, table: int, index: int) -> int:
        (entry,) = struct.unpack("<Q", self._arena.read(table + 8 * index, 8))
        return int(entry)

    def _store(self, table: int, index: int, *entries: int) -> None:
        self._arena.write(table + 8 * index, struct.pack(f"<{len(entries)}Q", *entries))
