"""Kernel text of our own: what the CPUs boot with, call the switch from, and find in a kernel.

The functions stand for those of FreeBSD that a source fix calls. They have the same arguments and
the same effect, in as few steps as that takes; the kernel's own take more, so they may race in more
ways than are shown here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from kpatch.units import Address
from kpatch.verify.world.encoding import jump, load_number

TEXT_AT: Final = 0xFFFF_FFFF_8030_0000

BOOT_LTR_AT: Final = Address(TEXT_AT)
"""``ltr ax``, to boot with."""

BOOT_DONE_AT: Final = Address(TEXT_AT + 3)

RETURN_AT: Final = Address(TEXT_AT + 0x10)
"""The switch was called from before here, and returns to here."""

TAIL_AT: Final = Address(TEXT_AT + 0x200)
"""What kqemu_exec does after the switch, in a module with a source fix: it goes on at the lock."""

TAIL_DONE_AT: Final = Address(TEXT_AT + 0x20)

_SSDTOSYSSD_AT: Final = TEXT_AT + 0x70

FRAME: Final = 0x100
"""Bytes of kqemu_exec's own on the stack, in the tail."""

_HLT: Final = b"\xf4"

FUNCTIONS: Final[Mapping[str, Address]] = {
    "ssdtosyssd": Address(_SSDTOSYSSD_AT),
}
"""The kernel's functions that exist here."""


def text(limit: int) -> bytes:
    """The bytes from ``TEXT_AT`` on, with no tail. ``limit`` is that of a TSS's descriptor."""
    code = bytearray(_HLT * 0x100)
    for at, part in (
        (BOOT_LTR_AT, bytes.fromhex("0f00d8")),
        (_SSDTOSYSSD_AT, _ssdtosyssd(limit)),
    ):
        code[at - TEXT_AT : at - TEXT_AT + len(part)] = part
    return bytes(code)


def _ssdtosyssd(limit: int) -> bytes:
    """sys/amd64/amd64/machdep.c: [rsi] := the descriptor of a free TSS with that limit, whose base
    is the first word of [rdi].
    """
    return (
        bytes.fromhex(
            "488b07"  #             mov rax, [rdi]
            "89c1 81e1ffffff00"  #  mov ecx, eax; and ecx, 0xffffff
            "48c1e110"  #           shl rcx, 16
            "89c2 c1ea18"  #        mov edx, eax; shr edx, 24
            "48c1e238 4809d1"  #    shl rdx, 56; or rcx, rdx
        )
        + load_number("rdx", 0x0000_8900_0000_0000 + limit)
        + bytes.fromhex(
            "4809d1 48890e"  #      or rcx, rdx; mov [rsi], rcx
            "48c1e820 894608"  #    shr rax, 32; mov [rsi+8], eax
            "c3"
        )
    )


def tail(
    registers: Mapping[str, int], stored: Mapping[tuple[str, int], int], target: Address
) -> bytes:
    """The bytes at ``TAIL_AT``: a frame of kqemu_exec, with ``stored`` numbers in it (by ``rsp`` or
    ``rbp`` and displacement) and ``registers`` as they are there; on at ``target``.

    Raises KeyError for a base that is no frame.
    """
    code = bytearray(bytes.fromhex("4881ec") + struct.pack("<I", FRAME))  # sub rsp, FRAME
    for (base, displacement), number in stored.items():
        at = displacement + {"rsp": 0, "rbp": FRAME}[base]
        code += load_number("rax", number) + bytes.fromhex("48898424") + struct.pack("<i", at)
    code += bytes.fromhex("488dac24") + struct.pack("<I", FRAME)  # lea rbp, [rsp + FRAME]
    for name, number in registers.items():
        code += load_number(name, number)
    return bytes(code) + jump(TAIL_AT + len(code), target)
