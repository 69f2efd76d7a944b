"""The memory that a module runs in: a host's tables, and a guest for every CPU."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence

from tests.secondsource.loading import leaving, load
from tests.secondsource.places import (
    CODE,
    CODE_64,
    DATA,
    DIRECT,
    FREE_TSS,
    GDT,
    GUEST_ENTRY,
    GUEST_SIZE,
    GUEST_WORDS,
    GUESTS,
    IMAGE_SIZE,
    KERNEL,
    LARGE,
    LDT,
    MEMORY,
    MODULE,
    MONITOR,
    PCPU,
    PCPU_SIZE,
    PRESENT,
    PRIVATE_GDT,
    TABLES,
    Host,
    descriptor,
)

_PAGE = 0x1000
_STATE = (IMAGE_SIZE + _PAGE - 1) & -_PAGE  # page-aligned behind the image
_MONITOR_GDT, _MONITOR_IDT, _MONITOR_LDT, _MONITOR_TSS, _STACK_TOP, _GUEST_CODE, _ROOT = (
    _STATE + each for each in (0x4000, 0x14000, 0x15000, 0x16000, 0x18000, 0x19000, 0x1A000)
)
_FIRST_FRAME = 7 * 8  # six registers and an address
_CS, _LDT, _TR = 0xF180, 0xF190, 0xF1A0


class World:
    """One buffer. ``fields`` are offsets in the state, named as in fields.h."""

    def __init__(
        self,
        module: bytes,
        header: Sequence[int],
        fields: Mapping[str, int],
        code: bytes,
        cpus: int,
        host: Host,
    ) -> None:
        self.header, self.fields, self.cpus, self.host = header, fields, cpus, host
        self._buffer = ctypes.create_string_buffer(MEMORY + _PAGE)
        skip = -ctypes.addressof(self._buffer) % _PAGE
        self.bytes = memoryview(self._buffer).cast("B")[skip : skip + MEMORY]
        self.pointer = ctypes.addressof(self._buffer) + skip
        self.module = load(module, header)
        self._put(MODULE, self.module.memory)
        self._put(CODE, code)
        self._host_tables()
        for cpu in range(cpus):
            self._host_cpu(cpu)
            self._copy(cpu, code)
            self._guest_tables(cpu)
            self._guest_state(cpu)
            self._page_tables(cpu)

    def gdt(self, cpu: int) -> int:
        """Physical address of the GDT that ``cpu`` uses."""
        return GDT + (0 if self.host.shared else PRIVATE_GDT * cpu)

    def guest(self, cpu: int) -> int:
        """Physical address of a CPU's guest: the image copy, and what follows it."""
        return GUESTS + GUEST_SIZE * cpu

    def state(self, cpu: int) -> int:
        """The kernel's address of a guest's state."""
        return DIRECT + self.guest(cpu) + _STATE

    def put(self, at: int, *words: int) -> None:
        """Write 64-bit words to physical memory."""
        self._put(at, struct.pack(f"<{len(words)}Q", *words))

    def _put(self, at: int, data: bytes) -> None:
        self.bytes[at : at + len(data)] = data

    def _host_tables(self) -> None:
        """All memory twice, in large pages, at KERNEL and at DIRECT."""
        kernel, direct, large = (TABLES + _PAGE * n for n in (1, 2, 3))
        self.put(TABLES + 8 * 510, direct | PRESENT, kernel | PRESENT)
        self.put(kernel + 8 * 510, large | PRESENT)
        self.put(direct, large | PRESENT)
        self.put(large, *(at | PRESENT | LARGE for at in range(0, MEMORY, 1 << 21)))

    def _host_cpu(self, cpu: int) -> None:
        self.put(self.gdt(cpu) + 0x20, CODE_64, DATA)
        pcpu = PCPU + PCPU_SIZE * cpu
        self._put(pcpu, bytes((37 * i + 11 * cpu) % 251 for i in range(PCPU_SIZE)))
        if self.host.cpuid is not None:
            self._put(pcpu + self.host.cpuid, struct.pack("<II", cpu, 1 << cpu))

    def _copy(self, cpu: int, code: bytes) -> None:
        """What kqemu_init copies, and a guest that knows what to call and which %gs to leave."""
        base = self.guest(cpu)
        array = self.module.array - MODULE
        self._put(base, self.module.memory[array : array + IMAGE_SIZE])
        self._put(base + _GUEST_CODE, code)
        neighbour = KERNEL + PCPU + PCPU_SIZE * ((cpu + 1) % self.cpus)
        hostile = 0x7777777000 if cpu % 2 else neighbour
        leave = leaving(bytes(self.bytes[base : base + _PAGE]), self.header)
        words = hostile, MONITOR + _STATE, MONITOR + leave
        self.put(base + _GUEST_CODE + GUEST_WORDS, *words)

    def _guest_tables(self, cpu: int) -> None:
        base = self.guest(cpu)
        self.put(base + _MONITOR_GDT + _CS, CODE_64)
        self.put(base + _MONITOR_GDT + _LDT, *descriptor(MONITOR + _MONITOR_LDT, LDT))
        self._put(base + _MONITOR_GDT + _TR, b"guest's own data")
        frame = (*[0x5A5A] * 6, MONITOR + _GUEST_CODE + GUEST_ENTRY)
        self.put(base + _STACK_TOP - _FIRST_FRAME, *frame)

    def _guest_state(self, cpu: int) -> None:
        """The fields that kqemu_init and kqemu_exec fill; the others are 0."""
        base = self.guest(cpu)
        words = {
            "M_STATE": MONITOR + _STATE,
            "K_STATE": DIRECT + base + _STATE,
            "K_NEXUS": DIRECT + base,
            "M_JMP": MONITOR + self.header[2],
            "M_CR3": base + _ROOT,
            "M_DR7": 0x400 * (cpu % 2),
            "M_RSP": MONITOR + _STACK_TOP - _FIRST_FRAME,
        }
        selectors = {"M_LDT": _LDT, "M_DS": 0, "M_CS": _CS, "M_TR": _TR}
        tables = {"M_IDT": (0xFFF, _MONITOR_IDT), "M_GDT": (0xFFFF, _MONITOR_GDT)}
        values = (
            *((name, struct.pack("<Q", value)) for name, value in words.items()),
            *((name, struct.pack("<H", value)) for name, value in selectors.items()),
            *((name, struct.pack("<HQ", end, MONITOR + at)) for name, (end, at) in tables.items()),
            ("M_TSS", struct.pack("<2Q", *descriptor(MONITOR + _MONITOR_TSS, FREE_TSS))),
        )
        for name, value in values:
            self._put(base + _STATE + self.fields[name], value)

    def _page_tables(self, cpu: int) -> None:
        """The guest at MONITOR, and its first page at the kernel's address too."""
        base = self.guest(cpu)
        top = base + _ROOT
        for at, table in (
            (0, 1),
            (0x1000 + 8 * (MONITOR >> 30), 2),
            (0x2000 + 8 * (MONITOR >> 21 & 0x1FF), 3),
            (8 * 510, 4),
            (0x4000, 5),
            (0x5000 + 8 * (base >> 21), 6),
        ):
            self.put(top + at, top + _PAGE * table | PRESENT)
        self.put(top + 0x3000, *(base + at | PRESENT for at in range(0, GUEST_SIZE, _PAGE)))
        self.put(top + 0x6000 + 8 * (base >> 12 & 0x1FF), base | PRESENT)
