"""Segment and TSS descriptors (SDM vol. 3, 3.4.5, and 8.2.3, "TSS Descriptor in 64-bit mode")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

TSS_SIZE: Final = 104
"""sizeof(struct amd64tss), and the stride of ``common_tss``."""

TSS_LIMIT: Final = TSS_SIZE - 1

FREE: Final = 0x9
BUSY: Final = 0xB

# Accessed from the start, as the kernel has them: loading them writes nothing.
CODE64: Final = struct.pack("<Q", 0x00AF_9B00_0000_FFFF)
DATA: Final = struct.pack("<Q", 0x00CF_9300_0000_FFFF)


@dataclass(frozen=True)
class SystemDescriptor:
    """The 16-byte descriptor of a TSS or LDT, taken apart. ``raw`` are its bytes."""

    raw: bytes
    base: int
    limit: int
    type: int
    present: bool

    @property
    def is_tss(self) -> bool:
        """Whether it is a 64-bit TSS, free or busy."""
        return self.type in (FREE, BUSY)

    def refusal(self) -> str:
        """Why ``ltr`` must not load it, apart from the busy bit; empty if it may.

        SDM vol. 2, LTR, and vol. 3, 8.2.3. Unicorn 2.1.4 and QEMU 7.2 load some of these. The
        limit may be larger for a CPU; this is one that has all of the TSS.
        """
        checks = (
            (self.type in (FREE, BUSY), f"its type is {self.type:#x}, not that of a 64-bit TSS"),
            (self.present, "it is not present"),
            (_is_canonical(self.base), f"its base {self.base:#x} is not canonical"),
            (self.limit >= TSS_LIMIT, f"its limit {self.limit:#x} ends inside of the TSS"),
            (not self.raw[6] & 0x60, "bits 21 and 22 of its second dword are reserved"),
            (not any(self.raw[12:]), "its fourth dword is reserved"),
        )
        return ", ".join(text for good, text in checks if not good)

    def __str__(self) -> str:
        state = {FREE: "free", BUSY: "busy"}.get(self.type, f"type {self.type:#x}")
        return f"{self.base:#x} {state}" + ("" if self.present else " not present")


def tss_descriptor(base: int, kind: int = FREE, limit: int = TSS_LIMIT) -> bytes:
    """The 16 bytes of a present TSS descriptor."""
    return struct.pack(
        "<HHBBBBII",
        limit & 0xFFFF,
        base & 0xFFFF,
        base >> 16 & 0xFF,
        0x80 | kind,
        limit >> 16 & 0xF,
        base >> 24 & 0xFF,
        base >> 32 & 0xFFFF_FFFF,
        0,
    )


def ldt_descriptor(base: int, limit: int) -> bytes:
    """The 16 bytes of a present LDT descriptor (type 2)."""
    return tss_descriptor(base, 0x2, limit)


def parse(raw: bytes) -> SystemDescriptor:
    """Take 16 bytes apart."""
    low, base0, base1, access, flags, base2, base3, _ = struct.unpack("<HHBBBBII", raw)
    limit = low | (flags & 0xF) << 16
    if flags & 0x80:  # granularity: the limit counts pages
        limit = limit << 12 | 0xFFF
    return SystemDescriptor(
        raw=bytes(raw),
        base=base0 | base1 << 16 | base2 << 24 | base3 << 32,
        limit=limit,
        type=access & 0x1F,  # with the S bit: a code or data segment is no system type
        present=bool(access & 0x80),
    )


def changed(raw: bytes, before: bytes) -> str:
    """What else than the base and the busy bit is not as it was; empty if nothing."""
    return ", ".join(
        f"byte {at} is {now:#04x}, was {was:#04x}"
        for at, (now, was, kept) in enumerate(zip(raw, before, _NEITHER_BASE_NOR_BUSY, strict=True))
        if (now ^ was) & kept
    )


_NEITHER_BASE_NOR_BUSY: Final = bytes.fromhex("ffff000000fdff0000000000ffffffff")


def _is_canonical(address: int) -> bool:
    """SDM vol. 1, 3.3.7.1: bits 63 to 47 are the same."""
    return address >> 47 in (0, 0x1_FFFF)
