"""Where things lie in the referee's memory, and the numbers that a CPU is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KERNEL: Final = 0xFFFFFFFF80000000  # the kernel and its modules, at physical address 0 upwards
DIRECT: Final = 0xFFFFFF0000000000  # the same memory again: what malloc gives
MONITOR: Final = 0xF0000000

MEMORY: Final = 0x400000
TABLES: Final = 0x1000
GDT: Final = 0x10040
IDT: Final = 0x13000
PCPU: Final = 0x14000
TSS: Final = 0x1FFC0  # so that common_tss lies across a border of 64 kB
STACKS: Final = 0x30000
CODE: Final = 0x70000
MODULE: Final = 0x100000
GUESTS: Final = 0x200000

GUEST_SIZE: Final = 0x80000
STACK_SIZE: Final = 0x4000
PCPU_SIZE: Final = 0x200
PRIVATE_GDT: Final = 0x200
TSS_SIZE: Final = 104
IMAGE_SIZE: Final = 141_872

# In harness.S.
BOOTED: Final = 0x20
GUEST_ENTRY: Final = 0x100
GUEST_WORDS: Final = 0x1E8
HOME: Final = KERNEL + CODE + 0x80  # where C goes on

# Intel SDM vol. 3, 3.4.5, 3.5 and 7.2.3: descriptors. Code and data are accessed already.
CODE_64: Final = 0x00AF9B000000FFFF
DATA: Final = 0x00CF93000000FFFF
FREE_TSS: Final = 0x89
BUSY_TSS: Final = 0x8B
LDT: Final = 0x82
PRESENT: Final = 0x63  # present, writable, accessed, dirty
LARGE: Final = 0x80

CR0: Final = 0x80010033  # PG WP NE ET MP PE
CR4: Final = 0x6A0  # OSXMMEXCPT OSFXSR PGE PAE
EFER: Final = 0xD00  # NXE LMA LME


@dataclass(frozen=True)
class Host:
    """A kernel. ``cpuid`` is that field's offset in ``struct pcpu``; None: nowhere known."""

    shared: bool = True
    cpuid: int | None = 0x34
    selector: int = 0x30


def descriptor(base: int, kind: int) -> tuple[int, int]:
    """A 16-byte system descriptor with limit 0x67, as two words."""
    low = 0x67 | (base & 0xFFFFFF) << 16 | kind << 40 | (base >> 24 & 0xFF) << 56
    return low, base >> 32
