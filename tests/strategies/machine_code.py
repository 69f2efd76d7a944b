"""A small encoder of x86-64 instructions, for code that assemblers would not choose to write.

It knows nothing of Keystone and Capstone, so what it makes can judge them. Encodings are those of
the SDM, vol. 2; the length of a displacement and useless prefixes are up to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REGISTERS: Final = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
NUMBER: Final = {name: number for number, name in enumerate(REGISTERS)}

REX, REX_W = 0x40, 0x48
_SIB_FOLLOWS, _NO_INDEX = 4, 0x24


@dataclass(frozen=True, slots=True)
class At:
    """Memory at ``[base + displacement]``; ``wide`` takes four bytes where one would do."""

    base: str
    displacement: int
    wide: bool = False


def encode(
    opcode: str,
    middle: int | str,
    target: At | str,
    *,
    prefix: str = "",
    rex: int = 0,
    immediate: bytes = b"",
) -> bytes:
    """``opcode`` (hex) with a ModRM byte: ``middle`` is a register or the /digit.

    ``rex`` is 0 for a REX byte only where a register needs it, else the byte's bits.
    """
    reg = NUMBER[middle] if isinstance(middle, str) else middle
    base = NUMBER[target.base if isinstance(target, At) else target]
    bits = rex | (reg >> 3) << 2 | base >> 3
    tail = _direct(reg, base) if isinstance(target, str) else _memory(reg, base, target)
    start = bytes.fromhex(prefix) + (bytes([REX | bits]) if bits else b"")
    return start + bytes.fromhex(opcode) + tail + immediate


def push(register: str) -> bytes:
    """``push r64``."""
    return _short(0x50, register)


def pop(register: str) -> bytes:
    """``pop r64``."""
    return _short(0x58, register)


def load(register: str, source: At) -> bytes:
    """``mov r64, [source]``."""
    return encode("8b", register, source, rex=REX_W)


def store(target: At, register: str) -> bytes:
    """``mov [target], r64``."""
    return encode("89", register, target, rex=REX_W)


def _short(opcode: int, register: str) -> bytes:
    number = NUMBER[register]
    return (b"\x41" if number > 7 else b"") + bytes([opcode + (number & 7)])


def _direct(reg: int, base: int) -> bytes:
    return bytes([0xC0 | (reg & 7) << 3 | base & 7])


def _memory(reg: int, base: int, target: At) -> bytes:
    low, shift = base & 7, target.displacement
    if shift == 0 and low != NUMBER["rbp"] and not target.wide:
        mode, tail = 0, b""
    elif -128 <= shift < 128 and not target.wide:
        mode, tail = 1, shift.to_bytes(1, "little", signed=True)
    else:
        mode, tail = 2, shift.to_bytes(4, "little", signed=True)
    sib = bytes([_NO_INDEX]) if low == _SIB_FOLLOWS else b""
    return bytes([mode << 6 | (reg & 7) << 3 | low]) + sib + tail
