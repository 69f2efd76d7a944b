"""The host: a FreeBSD/amd64 kernel as far as a world switch can see it.

It has a GDT (one for all CPUs, or one each), the array ``common_tss``, a page of ``struct pcpu``
for each CPU, an IDT and page tables, all in one arena that every CPU shares. Addresses are of our
choosing, within the top 2 GB as a kernel's are. The low bytes of a TSS's address differ from each
other and from those of another CPU's, so that a descriptor with misplaced bytes, or with some that
another CPU has left there, names no TSS or a wrong one. With FreeBSD 8's TR selector the TSSs lie
at the other end of those 2 GB, and the GDT and its TSS descriptor on two sides of 16 MB: who takes
a bit of an address for granted, or loses a carry, is wrong there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from kpatch.elf.klink import LoadedModule
from kpatch.errors import UsageError
from kpatch.units import PAGE, Address, counted
from kpatch.verify.hardware.descriptors import (
    CODE64,
    DATA,
    FREE,
    TSS_LIMIT,
    TSS_SIZE,
    tss_descriptor,
)
from kpatch.verify.hardware.memory import Arena, Bump, Region, page_down, page_up
from kpatch.verify.hardware.paging import AddressSpace
from kpatch.verify.world.kernel_text import FUNCTIONS, TAIL_AT, TEXT_AT, text

MAXCPU: Final = 16
"""amd64 SMP kernels of that time (sys/amd64/include/param.h)."""

SHARED_BASE: Final = 0
SHARED_SIZE: Final = 0x100_0000
_GUEST_TABLES: Final = 0xC0_0000
MODULE_LIMIT: Final = 0x80_0000

IDT_AT: Final = 0xFFFF_FFFF_80A5_7000
_GDT_AT: Final = Address(0xFFFF_FFFF_80A5_B000)
_GDT_AT_8: Final = Address(0xFFFF_FFFF_80FF_FFC0)
"""So near to the end of 16 MB that its TSS descriptor, at +0x48, is beyond it."""
PCPU_AT: Final = 0xFFFF_FFFF_80B4_0000
GDT_SEGS_AT: Final = 0xFFFF_FFFF_80A5_9000
UNMAPPED_AT: Final = 0xFFFF_FFFF_80F0_0000
"""Where everything of the kernel is said to be that is not modelled."""

_BITMAP: Final = 2 * PAGE
"""IOPAGES: a bit for each of 65,536 ports."""

_SOFT_SEGMENT_SIZE: Final = 24  # sizeof(struct soft_segment_descriptor)

# What FreeBSD/amd64 sets up in locore and initializecpu. CR0: paging, write protection, alignment
# mask, numeric errors, monitor coprocessor, lazy FPU switch. CR4: PAE, PSE, PGE, FXSAVE. EFER:
# SYSCALL, long mode, no-execute.
CR0: Final = 0x8005_003B
CR4: Final = 0x6B0
EFER: Final = 0xD01


@dataclass(frozen=True)
class HostModel:
    """Which kernel it is.

    ``cpuid_offset`` is where struct pcpu keeps the CPU's number (its mask follows at +4); None
    stands for a layout that nobody foresaw, with junk in every place that a patch might read.
    ``pretence`` makes a pair of u32 of that junk, all over the page, instead of large numbers.
    """

    cpus: int
    gdt: Literal["shared", "private"] = "shared"
    cpuid_offset: int | None = 0x34
    tr_selector: int = 0x30
    pretence: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MAXCPU:
            raise UsageError(f"{counted(self.cpus, 'CPU')}: a host has 1 to {MAXCPU}")
        if self.tr_selector not in _SEGMENTS:
            raise UsageError(f"no kernel of this time has its TSS at {self.tr_selector:#x}")
        if self.cpuid_offset is not None and not 8 <= self.cpuid_offset <= PAGE - 12:
            raise UsageError(f"cpuid at {self.cpuid_offset:#x} is not inside struct pcpu")

    @property
    def code_selector(self) -> int:
        """The kernel's CS."""
        return _SEGMENTS[self.tr_selector][0]

    @property
    def data_selector(self) -> int:
        """The kernel's SS, DS and ES."""
        return _SEGMENTS[self.tr_selector][1]

    @property
    def gdt_size(self) -> int:
        """Bytes of a GDT: NGDT entries of 8 (sys/amd64/include/segments.h of each branch)."""
        if self.tr_selector == FREEBSD_8:
            return 13 * 8
        return (8 if self.cpuid_offset == _CPUID_OF_6 else 9) * 8

    @property
    def gdt_limit(self) -> int:
        """The limit in GDTR."""
        return self.gdt_size - 1

    def gdt_of(self, cpu: int) -> Address:
        """The address of the GDT that a CPU uses."""
        first = _GDT_AT_8 if self.tr_selector == FREEBSD_8 else _GDT_AT
        return Address(first + (self.gdt_size * cpu if self.gdt == "private" else 0))

    def slot_of(self, cpu: int) -> Address:
        """The address of the TSS descriptor in that GDT."""
        return Address(self.gdt_of(cpu) + self.tr_selector)

    def tss_of(self, cpu: int) -> Address:
        """``&common_tss[cpu]``."""
        places = _BETWEEN_TWO if self.cpus == 2 else _COMMON_TSS
        first = places[self.tr_selector]
        return Address(first + TSS_SIZE * cpu)

    def tss_descriptor(self, base: int, kind: int = FREE) -> bytes:
        """What the kernel writes into the slot for a TSS at ``base``. From 8.0 on its limit leaves
        room for a bitmap of I/O ports behind it (gdt_segs and IOPAGES in sys/amd64), which
        ``common_tss`` has not: that of a process, which has one, comes into the same descriptor.
        """
        return tss_descriptor(base, kind, self.tss_limit)

    @property
    def tss_limit(self) -> int:
        """The limit in that descriptor."""
        has_bitmaps = self.tr_selector == FREEBSD_8 and self.gdt == "private"
        return TSS_LIMIT + (_BITMAP if has_bitmaps else 0)

    @staticmethod
    def pcpu_of(cpu: int) -> Address:
        """The kernel's GS base on a CPU."""
        return Address(PCPU_AT + PAGE * cpu)


FREEBSD_8: Final = 0x48
"""The TR selector of FreeBSD 8."""
_CPUID_OF_6: Final = 0x3C

# TR selector -> (CS, SS): GPROC0_SEL, GCODE_SEL, GDATA_SEL in sys/amd64/include/segments.h.
_SEGMENTS: Final[Mapping[int, tuple[int, int]]] = {
    0x30: (0x08, 0x10),
    FREEBSD_8: (0x20, 0x28),
}

_COMMON_TSS: Final[Mapping[int, Address]] = {
    0x30: Address(0xFFFF_FFFF_80A5_C340),
    0x48: Address(0xFFFF_FFFF_FF5A_3CB0),
}
"""TR selector -> common_tss, in bits 16 to 30 the one the other's complement. An array of its size
is aligned to 16 bytes (psABI 3.1.2), and may be to no more."""

# TR selector -> common_tss on a host with two CPUs: across a border of 64 kB, or of 16 MB, so that
# the two TSSs have other upper bytes as well. On larger hosts some CPUs would then differ from
# each other in more bytes than others do, and no two could be taken for each other.
_BETWEEN_TWO: Final[Mapping[int, Address]] = {
    0x30: Address(0xFFFF_FFFF_80A5_FFC0),
    0x48: Address(0xFFFF_FFFF_FEFF_FFB0),
}


MODELLED: Final = frozenset({*FUNCTIONS, "common_tss", "gdt", "gdt_segs", "__pcpu"})
"""The symbols of the kernel that are what they are in a kernel."""


class HostMemory:
    """The shared memory of one host, with a module loaded, as the first CPU finds it."""

    def __init__(self, model: HostModel) -> None:
        self.model = model
        self.arena = Arena(SHARED_BASE, SHARED_SIZE)
        self.pages = Bump(self.arena, end=_GUEST_TABLES)
        # Apart, so that cr3 is the same whatever the size of the module.
        self.guest_tables = Bump(self.arena, first=_GUEST_TABLES)
        self.pages.pages(PAGE)  # physical page 0 stays unused, so that address 0 means nothing
        self.space = AddressSpace(self.arena, self.pages)
        self.idt = self._new("host IDT", IDT_AT, PAGE)
        at = page_down(model.gdt_of(0))
        end = model.gdt_of(model.cpus - 1) + model.gdt_size
        self.gdt = self._new("host GDT", at, page_up(end - at))
        first = page_down(model.tss_of(0))
        self.tss = self._new("common_tss", first, model.tss_of(model.cpus) - first)
        self.pcpu = self._new("pcpu", PCPU_AT, PAGE * model.cpus)
        self.gdt_segs = self._new("gdt_segs", GDT_SEGS_AT, PAGE)
        self.text = self._new("kernel", TEXT_AT, PAGE)
        self.module: Region | None = None
        self._fill()

    @property
    def regions(self) -> tuple[Region, ...]:
        """Everything that is mapped, of the kernel's own and the module."""
        own = (self.idt, self.gdt, self.tss, self.pcpu, self.gdt_segs, self.text)
        return own if self.module is None else (*own, self.module)

    def load(self, module: LoadedModule) -> Region:
        """Put a linked module of at most ``MODULE_LIMIT`` bytes where it was linked for."""
        self.module = self._new("module", module.base, len(module.memory))
        self.arena.write(self.module.physical, module.memory)
        return self.module

    @property
    def soft_segment(self) -> Region:
        """``gdt_segs[GPROC0_SEL].ssd_base``: the TSS of the CPU that booted last."""
        at = _SOFT_SEGMENT_SIZE * (self.model.tr_selector // 8)
        return self.gdt_segs.part("gdt_segs", at, 8)

    def go_on_at(self, code: bytes) -> None:
        """What kqemu_exec does after the switch."""
        self.arena.write(self.text.physical_of(TAIL_AT), code)

    def resolve(self, undefined: frozenset[str]) -> Mapping[str, Address]:
        """An address for every symbol that a module wants from the kernel.

        What is not modelled gets addresses where nothing is mapped, so that using it faults.
        """
        known = {
            **FUNCTIONS,
            "common_tss": self.model.tss_of(0),
            "gdt": self.model.gdt_of(0),
            "gdt_segs": Address(GDT_SEGS_AT),
            "__pcpu": Address(PCPU_AT),
        }
        others = sorted(undefined - known.keys())
        return {
            **{name: Address(UNMAPPED_AT + 16 * n) for n, name in enumerate(others)},
            **known,
        }

    def slot(self, cpu: int) -> Region:
        """The 16 bytes of the TSS descriptor that a CPU's ``ltr`` loads."""
        return self.gdt.part(
            f"host descriptor {self.model.tr_selector:#x}",
            self.model.slot_of(cpu) - self.gdt.virtual,
            16,
        )

    def write_slot(self, cpu: int) -> None:
        """What init_secondary does before its ``ltr``: slot := this CPU's free TSS, and
        gdt_segs, from which the kernel makes the descriptor.
        """
        base = self.model.tss_of(cpu)
        self.arena.write(self.slot(cpu).physical, self.model.tss_descriptor(base))
        self.arena.write(self.soft_segment.physical, struct.pack("<Q", base))

    def _new(self, name: str, at: int, size: int) -> Region:
        region = self.pages.region(name, at, size, private=False)
        self.space.map(region, is_global=True)
        return region

    def _fill(self) -> None:
        model = self.model
        for cpu in range(model.cpus if model.gdt == "private" else 1):
            at = self.gdt.physical_of(model.gdt_of(cpu))
            self.arena.write(at + model.code_selector, CODE64)
            self.arena.write(at + model.data_selector, DATA)
        for cpu in range(model.cpus):
            tss = self.tss.physical_of(model.tss_of(cpu))
            # rsp0 at +4, no I/O bitmap: its offset (the last u16) is the size of the TSS.
            stack = 0xFFFF_FFFF_B800_0000 + 0x4000 * (cpu + 1)
            self.arena.write(tss, struct.pack("<IQ", 0, stack).ljust(102, b"\0") + b"\x68\0")
            page = pcpu_page(model, cpu, model.pretence)
            self.arena.write(self.pcpu.physical_of(model.pcpu_of(cpu)), page)
        self.arena.write(self.text.physical, text(model.tss_limit))


def pcpu_page(model: HostModel, cpu: int, pretence: tuple[int, int] | None) -> bytes:
    """One page: curthread, cpuid, cpumask and other_cpus where they belong, junk elsewhere.

    The junk is made of u32 that differ for each place and CPU, and are no small numbers: none
    passes for a CPU's number, nor for its mask. A pretence stands at every address that is 4 more
    than a multiple of 8, as cpuid does in the kernels that are known.
    """
    page = bytearray(_junk(cpu))
    if pretence is not None:
        page[4:-4] = struct.pack("<II", *pretence) * (PAGE // 8 - 1)
    struct.pack_into("<Q", page, 0, 0xFFFF_FF00_0100_0000 + 0x400 * cpu)
    if model.cpuid_offset is not None:
        others = ((1 << model.cpus) - 1) & ~(1 << cpu)
        struct.pack_into("<III", page, model.cpuid_offset, cpu, 1 << cpu, others)
    return bytes(page)


@cache
def _junk(cpu: int) -> bytes:
    junk = range(0xA5000000 | cpu << 16, (0xA5000000 | cpu << 16) + PAGE, 4)
    return struct.pack(f"<{len(junk)}I", *junk)
