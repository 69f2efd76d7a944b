"""One guest: a kernel thread, its copy of the monitor image, and the monitor's world.

All of it is private memory, at the same physical addresses whichever CPU runs the guest, so that a
guest which moves is a copy of bytes, and local states of different CPUs can be compared. Where the
kernel's addresses of it are, :mod:`kpatch.verify.world.addresses` says. What kqemu_init and
kqemu_exec would prepare in the state structure is written here by hand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kpatch.errors import UnknownModuleError
from kpatch.units import PAGE, Address, counted
from kpatch.verify.hardware.descriptors import CODE64, ldt_descriptor, tss_descriptor
from kpatch.verify.hardware.memory import Arena, Bump, Region, page_down, page_up
from kpatch.verify.hardware.paging import AddressSpace
from kpatch.verify.world.addresses import seats
from kpatch.verify.world.host import FREEBSD_8, HostMemory
from kpatch.verify.world.hostile_guest import GUEST_DATA, hostile_stub
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.worldswitch import SwitchLayout

PRIVATE_BASE: Final = 0x1000_0000
# In the kernel's map and in the direct map, as malloc gives it out: not in the top 2 GB, where only
# the kernel itself and its modules are, so that an address cut to 32 bits is another address.
# Both lie in 512 GB (one entry of the root of the page tables) that have nothing else.
STACK_AT: Final = 0xFFFF_FF00_3900_0000
STACK_SIZE: Final = 4 * PAGE  # KSTACK_PAGES on amd64
COPY_AT: Final = Address(0xFFFF_FF00_3A00_0000)
LARGEST_IMAGE: Final = 0x40_0000

MONITOR_BASE: Final = 0xF000_0000
MONITOR_TABLES_AT: Final = 0xF200_0000
STUB_AT: Final = Address(0xF300_0000)

# Selectors in the GDT of kqemu 1.4.0pre1's monitor, whose limit is 0xffff.
MONITOR_CS: Final = 0xF180
MONITOR_LDT: Final = 0xF190
MONITOR_TR: Final = 0xF1A0
GDT_SIZE: Final = 0x1_0000

RESET_DR7: Final = 0x0000_0400
MONITOR_DR7: Final = 0x0000_0700
"""Exact local and global breakpoints (LE, GE), of the guest's making. No breakpoint itself: the
engine cannot keep one in a snapshot."""

SWITCH_STACK: Final = 0x100
"""Bytes of the host stack that the switch may use below its return address.

An amd64 thread has four pages for everything (KSTACK_PAGES, sys/amd64/include/param.h). How much
of them the callers of kqemu_exec leave is not known. But it runs with interrupts on up to the
switch, and an interrupt comes on the same stack: its frame, struct trapframe of
sys/amd64/include/frame.h, has 192 bytes, and its handler calls others. So 256 are there; no more is
known to be. The unpatched switch uses 48.
"""

CALLER_FRAME: Final = 0x100
"""Bytes of the caller's own on the host stack, above the return address."""

_PLACE_IN_PAGE: Final = PAGE - 8
"""In what the stack pointers of two kernels can differ, apart from the page."""


class Guest:
    """The private memory of one guest at the start of its first round."""

    def __init__(
        self,
        host: HostMemory,
        layout: SwitchLayout,
        image: bytes,
        count: int = 1,
        unshared: Sequence[Region] = (),
        *,
        runs_tail: bool = False,
    ) -> None:
        """``image`` is the monitor image as the kernel linker left it; ``count`` is how many
        guests have addresses of their own. Everything of the host's must be mapped already.
        ``unshared`` are parts of the host's memory of which each thread has a copy of its own.
        ``runs_tail``: what kqemu_exec does behind the switch is run, and may use all of the stack.
        UnknownModuleError if the image is too large to be one.
        """
        if len(image) > LARGEST_IMAGE:
            raise UnknownModuleError(f"a monitor image of {counted(len(image), 'byte')}")
        self.layout = layout
        self._model = host.model
        self._runs_tail = runs_tail
        state_size = page_up(layout.state_size) + PAGE
        size = STACK_SIZE + page_up(len(image)) + state_size + GDT_SIZE + (24 + 8 * count) * PAGE
        size += sum(page_up(region.size) + PAGE for region in unshared)
        self.arena = Arena(PRIVATE_BASE, size)
        pages = Bump(self.arena)
        self.stack = pages.region("host stack", STACK_AT, STACK_SIZE, private=True)
        self.copy = pages.region("image", COPY_AT, len(image), private=True)
        self.state = pages.region("state", self.copy.end, state_size, private=True)
        tables = pages.region(
            "monitor tables", MONITOR_TABLES_AT, GDT_SIZE + 4 * PAGE, private=True
        )
        self.gdt = tables.part("monitor GDT", 0, GDT_SIZE)
        self.idt = tables.part("monitor IDT", GDT_SIZE, PAGE)
        self.ldt = tables.part("monitor LDT", GDT_SIZE + PAGE, PAGE)
        self.tss = tables.part("monitor TSS", GDT_SIZE + 2 * PAGE, PAGE)
        self.monitor_stack = tables.part("monitor stack", GDT_SIZE + 3 * PAGE, PAGE)
        self.stub = pages.region("guest", STUB_AT, PAGE, private=True)
        self.monitor_copy = self.copy.mapped_at(MONITOR_BASE, "monitor image")
        self.monitor_state = self.state.mapped_at(self.monitor_copy.end)
        self.nexus = self.copy.part("image", 0, PAGE)

        monitor_space = AddressSpace(self.arena, pages)
        for region in (self.monitor_copy, self.monitor_state, tables, self.stub):
            monitor_space.map(region)
        own = (self.stack, self.copy, self.state)
        self.unshared = tuple(self._take_over(host, pages, region) for region in unshared)
        self.seats = seats((host.space, host.guest_tables), (monitor_space, pages), own, count)

        self._write(self.copy, 0, image)
        self._fill_tables()
        self._fill_stacks()
        self._fill_state()
        # A guest whose switch does not give it DR7 never gets to write it.
        dr7 = MONITOR_DR7 if layout.loads_dr7 else RESET_DR7
        leave = MONITOR_BASE + layout.monitor_to_kernel
        self._write(self.stub, 0, hostile_stub(self.monitor_state.virtual, leave, dr7))

    @property
    def host_regions(self) -> tuple[Region, ...]:
        """What is mapped in the host's page tables."""
        return (self.stack, self.copy, self.state)

    @property
    def monitor_regions(self) -> tuple[Region, ...]:
        """What is mapped in the monitor's page tables."""
        return (
            self.monitor_copy,
            self.monitor_state,
            self.gdt,
            self.idt,
            self.ldt,
            self.tss,
            self.monitor_stack,
            self.stub,
        )

    @property
    def saved_fields(self) -> tuple[Region, ...]:
        """The fields of the state that every entry saves anew."""
        return tuple(
            self.state.part("saved field", offset, len(junk))
            for offset, junk in _unsaved(self.layout)
        )

    @property
    def dead_stack(self) -> Region:
        """The part of the host stack below the return address."""
        return self.stack.part("dead stack", 0, self.rsp - self.stack.virtual)

    @property
    def deep_stack(self) -> Region:
        """The part of it that the switch may not use."""
        usable = self.dead_stack.size if self._runs_tail else SWITCH_STACK
        name = f"host stack deeper than {SWITCH_STACK} bytes: "
        return self.stack.part(name, 0, self.dead_stack.size - usable)

    @property
    def rsp(self) -> int:
        """The first guest's stack pointer at the call: it points to the return address.

        On hosts with FreeBSD 8's TR selector each bit of its place in a page is another one: who
        aligns it, and takes for granted by how much that moved it, is wrong there.
        """
        at = self.stack.end - CALLER_FRAME - 8
        return at ^ _PLACE_IN_PAGE if self._model.tr_selector == FREEBSD_8 else at

    @property
    def entry(self) -> int:
        """The address that the first guest's kernel calls."""
        return COPY_AT + self.layout.kernel_to_monitor

    def registers(self, seat: int) -> Mapping[str, int]:
        """With what a guest's thread calls the switch."""
        return self.seats[seat].registers(self.layout, self.rsp - self.stack.virtual)

    def fields(self, seat: int) -> Iterator[tuple[int, bytes]]:
        """What its state has for itself: physical addresses and bytes."""
        for offset, data in self.seats[seat].fields(self.layout):
            yield self.state.physical + offset, data

    @property
    def writable(self) -> tuple[Region, ...]:
        """What the switch may write: the thread's stack below the return address (at most
        :data:`SWITCH_STACK` bytes), the state, the monitor's stack, and the slot of the monitor's
        GDT that it lends to its TSS.
        """
        deep = self.deep_stack.size
        return (
            self.stack.part("host stack", deep, self.dead_stack.size - deep),
            self.state,
            self.monitor_stack,
            self.gdt.part("monitor descriptor", MONITOR_TR, 16),
            *self.unshared,
        )

    def _take_over(self, host: HostMemory, pages: Bump, region: Region) -> Region:
        """A copy of the pages of a region of the host's, in their place; the region in it."""
        first = page_down(region.virtual)
        copy = pages.region(region.name, first, page_up(region.end - first), private=True)
        before = region.physical - (region.virtual - first)
        self.arena.write(copy.physical, host.arena.read(before, copy.size))
        host.space.map(copy, is_global=True)
        return copy.part(region.name, region.virtual - first, region.size)

    def _fill_tables(self) -> None:
        # Base 0: a CPU in 64-bit mode ignores the base of DS, ES, SS and CS (SDM vol. 3, 3.4.4);
        # Unicorn 2.1.4 adds it where an instruction names the segment in a prefix.
        self._write(self.gdt, GUEST_DATA & ~7, struct.pack("<Q", 0x00CF_F300_0000_FFFF))
        self._write(self.gdt, MONITOR_CS, CODE64)
        self._write(self.gdt, MONITOR_LDT, ldt_descriptor(self.ldt.virtual, 0xFF))
        # The guest has something of its own where the monitor's TSS goes: it must be put back.
        self._write(self.gdt, MONITOR_TR, bytes(range(0x31, 0x41)))

    def _fill_stacks(self) -> None:
        caller = struct.pack("<Q", RETURN_AT) + b"\xc5" * CALLER_FRAME
        self._write(self.stack, self.rsp - self.stack.virtual, caller)
        self._write(self.monitor_stack, _MONITOR_RSP, _first_frame(self.layout.frame))

    def _fill_state(self) -> None:
        at = self.layout
        tables = struct.Struct("<HQ")
        fields: tuple[tuple[int, bytes], ...] = (
            (at.monitor_address, _u64(self.monitor_state.virtual)),
            (at.monitor_idt, tables.pack(PAGE - 1, self.idt.virtual)),
            (at.monitor_gdt, tables.pack(GDT_SIZE - 1, self.gdt.virtual)),
            (at.monitor_ldt_sel, _u16(MONITOR_LDT)),
            (at.monitor_ds_sel, _u16(0)),
            (at.monitor_jump, _u64(MONITOR_BASE + at.monitor_side)),
            (at.monitor_cs_sel, _u16(MONITOR_CS)),
            (at.monitor_tr_sel, _u16(MONITOR_TR)),
            (at.monitor_dr7, _u64(MONITOR_DR7)),
            (at.monitor_rsp, _u64(self.monitor_stack.virtual + _MONITOR_RSP)),
            (at.tss_cache, tss_descriptor(self.tss.virtual)),
            *self.seats[0].fields(at),
        )
        for offset, data in (*_unsaved(at), *fields):
            self._write(self.state, offset, data)

    def _write(self, region: Region, offset: int, data: bytes) -> None:
        self.arena.write(region.physical + offset, data)


def _unsaved(at: SwitchLayout) -> Iterator[tuple[int, bytes]]:
    """Junk in every field that the entry has to save: one that it forgets is not found right."""
    sizes = {
        2: (at.host_tr_sel, at.host_ldt_sel, at.host_cs, at.host_ss),
        8: (at.host_rsp, at.host_cr0, at.host_cr3, at.host_cr4),
        10: (at.host_idt, at.host_gdt),
    }
    for size, offsets in sizes.items():
        yield from ((offset, b"\x5a" * size) for offset in offsets)


def _first_frame(frame: Sequence[int]) -> bytes:
    """A word for each that the switch pops, a register's junk or the flags; then where the
    monitor starts.
    """
    words = (flags or 0x6D6F_6E00 + n for n, flags in enumerate(frame))
    return struct.pack(f"<{len(frame) + 1}Q", *words, STUB_AT)


_MONITOR_RSP: Final = PAGE - 0x200


def _u16(value: int) -> bytes:
    return struct.pack("<H", value)


def _u64(value: int) -> bytes:
    return struct.pack("<Q", value)
