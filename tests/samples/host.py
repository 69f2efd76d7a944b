"""A bare host for one CPU, on which a sample's own kqemu_init and kqemu_exec run.

Everything lies in one block of memory: descriptor tables, page tables, stack, the loaded module
and a heap. Functions of the kernel are ``ret`` instructions that Python serves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import unicorn
from unicorn import x86_const as x86

from kpatch.elf.klink import load
from kpatch.elf.module import Module
from kpatch.units import Address

KERNEL: Final = 0xFFFF_FFFF_8000_0000
MEMORY: Final = 16 << 20
PAGE: Final = 4096

# Physical addresses; the kernel sees each at KERNEL + address.
TOP, MIDDLE, LOW, GDT, TSS = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
FUNCTIONS, STACK_END, MODULE, HEAP = 0x8000, 0x20000, 0x20_0000, 0x60_0000
STOP: Final = KERNEL + FUNCTIONS

CODE_SELECTOR, DATA_SELECTOR = 0x20, 0x28
GS_BASE: Final = KERNEL + 0x7000

DATA: Final = {
    "gdt": Address(KERNEL + GDT),
    "gdt_segs": Address(KERNEL + 0x7200),
    "common_tss": Address(KERNEL + TSS),
    "mp_ncpus": Address(KERNEL + 0x7400),
}
"""Where the kernel's variables are that the source fixes want. This CPU is number 0 of 2."""

# SDM vol. 3, 2.5 and 2.2.1
CR0_PE_ET_NE_WP_PG: Final = 0x8001_0031
CR4_PAE_PGE: Final = 0xA0
MSR_EFER, EFER_LME_LMA = 0xC000_0080, 0x500
MSR_GS_BASE: Final = 0xC000_0101

CALLEE_SAVED: Final = (
    x86.UC_X86_REG_RBX,
    x86.UC_X86_REG_RBP,
    x86.UC_X86_REG_R12,
    x86.UC_X86_REG_R13,
    x86.UC_X86_REG_R14,
    x86.UC_X86_REG_R15,
)
ARGUMENTS: Final = (x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX)


class Host:
    """One CPU in long mode, with its TSS loaded from slot 6 of its GDT, and a loaded module."""

    def __init__(self, module: Module) -> None:
        self.engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.engine.mem_map(0, MEMORY)
        self._heap = HEAP
        self._services: dict[int, Callable[[], int]] = {}
        self._boot()
        undefined = sorted(module.undefined)
        wanted = {
            name: DATA.get(name, Address(STOP + 16 * number))
            for number, name in enumerate(undefined, start=1)
        }
        self._serve(wanted)
        self.loaded = load(module, Address(KERNEL + MODULE), wanted)
        self.engine.mem_write(MODULE, self.loaded.memory)

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the module, interrupts on, and return its result."""
        engine = self.engine
        for register, value in zip(ARGUMENTS, arguments, strict=False):
            engine.reg_write(register, value)
        top = KERNEL + STACK_END - 64
        self.write(top - 8, struct.pack("<Q", STOP))
        engine.reg_write(x86.UC_X86_REG_RSP, top - 8)
        engine.reg_write(x86.UC_X86_REG_EFLAGS, 0x202)
        engine.emu_start(self.loaded.symbols[name], STOP, count=50_000_000)
        if engine.reg_read(x86.UC_X86_REG_RIP) != STOP:
            raise RuntimeError(f"{name} did not return")
        return int(engine.reg_read(x86.UC_X86_REG_RAX))

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address of the kernel."""
        return bytes(self.engine.mem_read(address - KERNEL, size))

    def read_u64(self, address: int) -> int:
        """A u64 at an address of the kernel."""
        return int.from_bytes(self.read(address, 8), "little")

    def write(self, address: int, data: bytes) -> None:
        """Write bytes at an address of the kernel."""
        self.engine.mem_write(address - KERNEL, data)

    def standing(self) -> dict[str, object]:
        """What the world switch has to bring back."""
        read = self.engine.reg_read
        registers = {
            "cr0": x86.UC_X86_REG_CR0,
            "cr3": x86.UC_X86_REG_CR3,
            "cr4": x86.UC_X86_REG_CR4,
            "gdtr": x86.UC_X86_REG_GDTR,
            "idtr": x86.UC_X86_REG_IDTR,
            "tr": x86.UC_X86_REG_TR,
            "cs": x86.UC_X86_REG_CS,
            "ss": x86.UC_X86_REG_SS,
        }
        kept: dict[str, object] = {name: read(number) for name, number in registers.items()}
        kept["ldt"] = read(x86.UC_X86_REG_LDTR)[0]  # the rest is void with a null selector
        kept["gs base"] = self.engine.msr_read(MSR_GS_BASE)
        kept["saved"] = tuple(read(number) for number in CALLEE_SAVED)
        return kept

    def _boot(self) -> None:
        engine = self.engine
        engine.mem_write(TOP + 8 * 511, struct.pack("<Q", MIDDLE | 3))
        engine.mem_write(MIDDLE + 8 * 510, struct.pack("<Q", LOW | 3))
        large = 0x180 | 3  # SDM vol. 3, table 4-17: a global page of 2 MB
        pages = [at | large for at in range(0, MEMORY, 2 << 20)]
        engine.mem_write(LOW, struct.pack(f"<{len(pages)}Q", *pages))
        table = [0, 0, 0, 0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF]
        engine.mem_write(GDT, struct.pack("<6Q", *table) + free_tss(KERNEL + TSS))
        engine.mem_write(DATA["mp_ncpus"] - KERNEL, struct.pack("<I", 2))
        engine.mem_write(FUNCTIONS, b"\xc3" * PAGE)

        engine.reg_write(x86.UC_X86_REG_CR4, CR4_PAE_PGE)
        engine.reg_write(x86.UC_X86_REG_CR3, TOP)
        engine.msr_write(MSR_EFER, EFER_LME_LMA)
        engine.reg_write(x86.UC_X86_REG_CR0, CR0_PE_ET_NE_WP_PG)
        engine.reg_write(x86.UC_X86_REG_GDTR, (0, KERNEL + GDT, 0x3F, 0))
        engine.reg_write(x86.UC_X86_REG_IDTR, (0, KERNEL + 0x6000, 0xFFF, 0))
        engine.reg_write(x86.UC_X86_REG_CS, CODE_SELECTOR)
        engine.reg_write(x86.UC_X86_REG_SS, DATA_SELECTOR)
        self._load_task_register()
        engine.msr_write(MSR_GS_BASE, GS_BASE)

    def _load_task_register(self) -> None:
        code = b"\x66\xb8\x30\x00\x0f\x00\xd8"  # mov $0x30, %ax; ltr %ax
        at = KERNEL + FUNCTIONS + 0x800
        self.write(at, code)
        self.engine.emu_start(at, at + len(code))

    def _serve(self, wanted: dict[str, Address]) -> None:
        known: dict[str, Callable[[], int]] = {
            "malloc": self._malloc,
            "memcpy": self._memcpy,
            "ssdtosyssd": self._ssdtosyssd,
            "pmap_kextract": lambda: self._argument(0) - KERNEL,
        }
        for name in wanted.keys() - DATA.keys():
            self._services[wanted[name]] = known.get(name, lambda: 0)
        self.engine.hook_add(
            unicorn.UC_HOOK_CODE, self._function, None, STOP + 16, STOP + 16 * len(wanted)
        )

    def _function(self, engine: unicorn.Uc, address: int, size: int, data: object) -> None:
        engine.reg_write(x86.UC_X86_REG_RAX, self._services[address]())

    def _argument(self, number: int) -> int:
        return int(self.engine.reg_read(ARGUMENTS[number]))

    def _malloc(self) -> int:
        made = KERNEL + self._heap
        self._heap += -(-self._argument(0) // PAGE) * PAGE
        if self._heap > MEMORY:
            raise MemoryError("the heap of the host is used up")
        return made

    def _memcpy(self) -> int:
        target, source, size = (self._argument(number) for number in range(3))
        self.write(target, self.read(source, size))
        return target

    def _ssdtosyssd(self) -> int:
        self.write(self._argument(1), free_tss(self.read_u64(self._argument(0))))
        return 0


def free_tss(base: int) -> bytes:
    """The descriptor of a 64-bit TSS that is not busy. SDM vol. 3, figure 7-4."""
    low = 0x67 | (base & 0xFFFFFF) << 16 | 0x89 << 40 | (base >> 24 & 0xFF) << 56
    return struct.pack("<2Q", low, base >> 32)
