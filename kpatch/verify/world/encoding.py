"""Encodings of the few instructions that code of the harness is made of while it runs."""

from __future__ import annotations

import struct
from typing import Final

from kpatch.units import ADDRESS_MASK

# SDM vol. 2, table 3-1: the order is that of the numbers.
GENERAL_BY_NUMBER: Final = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip


def load_number(register: str, number: int) -> bytes:
    """``mov register, number``, 64 bits wide (SDM vol. 2, MOV: REX.W + B8+rd io)."""
    index = GENERAL_BY_NUMBER.index(register)
    code = bytes((0x48 | index >> 3, 0xB8 | index & 7))
    return code + struct.pack("<Q", number & ADDRESS_MASK)


def jump(place: int, target: int) -> bytes:
    """``jmp target``, to stand at ``place`` (SDM vol. 2, JMP: E9 cd)."""
    code = b"\xe9"
    return code + struct.pack("<i", target - (place + len(code) + 4))
