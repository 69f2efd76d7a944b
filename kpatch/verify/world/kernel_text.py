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

TEXT_AT: Final = 0xFFFF_FFFF_8030_0000

BOOT_LTR_AT: Final = Address(TEXT_AT)
"""``ltr ax``, to boot with."""

BOOT_DONE_AT: Final = Address(TEXT_AT + 3)

RETURN_AT: Final = Address(TEXT_AT + 0x10)
"""The switch was called from before here, and returns to here."""

TAIL_AT: Final = Address(TEXT_AT + 0x20)
"""What kqemu_exec does after the switch, in a module with a source fix: it calls the fix."""

TAIL_DONE_AT: Final = Address(TAIL_AT + 12)

_LOCK_AT: Final = TEXT_AT + 0x40
_UNLOCK_AT: Final = TEXT_AT + 0x60
_SSDTOSYSSD_AT: Final = TEXT_AT + 0x70

_HLT: Final = b"\xf4"

# Spin until the first word of the mutex is 0, and make it 1.
_LOCK: Final = bytes.fromhex(
    "b801000000"  # again:  mov eax, 1
    "8707"  #               xchg [rdi], eax
    "85c0 7409"  #          test eax, eax; jz taken
    "f390"  #       wait:   pause
    "833f00 75f9"  #        cmp dword [rdi], 0; jne wait
    "ebec"  #               jmp again
    "c3"  #         taken:  ret
)
_UNLOCK: Final = bytes.fromhex("c70700000000 c3")  # mov dword [rdi], 0; ret

# sys/amd64/amd64/machdep.c: [rsi] := the descriptor of a free TSS whose base is the first word of
# [rdi], limit 0x67.
_SSDTOSYSSD: Final = bytes.fromhex(
    "488b07"  #             mov rax, [rdi]
    "89c1 81e1ffffff00"  #  mov ecx, eax; and ecx, 0xffffff
    "48c1e110"  #           shl rcx, 16
    "89c2 c1ea18"  #        mov edx, eax; shr edx, 24
    "48c1e238 4809d1"  #    shl rdx, 56; or rcx, rdx
    "48ba6700000000890000"  # mov rdx, 0x0000890000000067
    "4809d1 48890e"  #      or rcx, rdx; mov [rsi], rcx
    "48c1e820 894608"  #    shr rax, 32; mov [rsi+8], eax
    "c3"
)

FUNCTIONS: Final[Mapping[str, Address]] = {
    "_mtx_lock_spin_flags": Address(_LOCK_AT),
    "_mtx_lock_flags": Address(_LOCK_AT),
    "_mtx_unlock_spin_flags": Address(_UNLOCK_AT),
    "_mtx_unlock_flags": Address(_UNLOCK_AT),
    "ssdtosyssd": Address(_SSDTOSYSSD_AT),
}
"""The kernel's functions that exist here."""


def text() -> bytes:
    """The bytes from ``TEXT_AT`` on, with no tail."""
    code = bytearray(_HLT * 0x100)
    for at, part in (
        (BOOT_LTR_AT, bytes.fromhex("0f00d8")),
        (_LOCK_AT, _LOCK),
        (_UNLOCK_AT, _UNLOCK),
        (_SSDTOSYSSD_AT, _SSDTOSYSSD),
    ):
        code[at - TEXT_AT : at - TEXT_AT + len(part)] = part
    return bytes(code)


def tail(function: Address) -> bytes:
    """The bytes at ``TAIL_AT``: mov rax, function; call rax."""
    return b"\x48\xb8" + struct.pack("<Q", function) + b"\xff\xd0"
