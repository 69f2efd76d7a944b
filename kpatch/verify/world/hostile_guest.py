"""The code that stands for the monitor and its guest: it leaves the CPU as hostile as it can.

It leaves twice, in turn: once with junk in the registers and flags, once with zeros, because code
that looks at a register it never wrote may be right with the one and wrong with the other.

Written in machine code, real instructions under the monitor's page tables, so that the emulator
checks what a CPU would check. Interrupts stay off and the direction flag clear: the monitor's own
C code needs that (psABI 3.2.3), whatever its guest did.
"""

from __future__ import annotations

import struct
from typing import Final

from kpatch.verify.world.encoding import GENERAL_BY_NUMBER, jump, load_number

GUEST_DATA: Final = 0x000B
"""A data segment of the guest's, privilege 3."""

HOSTILE_BASE: Final = 0x0000_5EED_0BAD_0000
"""FS and GS base: canonical, in user space, mapped nowhere."""

HOSTILE_FLAGS: Final = 0x0024_38D5 | 2
"""ID, AC, I/O privilege 3, overflow, sign, zero, adjust, parity, carry; IF, DF, TF, NT are 0."""

CLEAR_FLAGS: Final = 2
"""None of them: bit 1 is always set."""

_MSR_FS_BASE: Final = 0xC000_0100
_MSR_GS_BASE: Final = 0xC000_0101
_CR0_TS: Final = 8

_JUNK: Final = tuple(r for r in GENERAL_BY_NUMBER if r not in ("rax", "rsp", "rdi"))


def hostile_stub(state: int, monitor_to_kernel: int, dr7: int) -> bytes:
    """Position-independent code that spoils the CPU and calls ``monitor_to_kernel`` with ``state``
    in rdi: with junk in the first round, with zeros in the second, and so on in turn. Each call
    returns in the round after its own.
    """
    junk = tuple(0xBAD0_0000_0000_0BAD | n << 32 for n in range(len(_JUNK)))
    code = b"".join(
        _leave(state, monitor_to_kernel, dr7, flags, values)
        for flags, values in ((HOSTILE_FLAGS, junk), (CLEAR_FLAGS, (0,) * len(_JUNK)))
    )
    return code + jump(len(code), 0)


def _leave(
    state: int, monitor_to_kernel: int, dr7: int, flags: int, values: tuple[int, ...]
) -> bytes:
    return b"".join(
        (
            load_number("rax", GUEST_DATA),
            bytes.fromhex("8ed8 8ec0 8ee0 8ee8"),  # mov ds, es, fs, gs
            _wrmsr(_MSR_FS_BASE, HOSTILE_BASE),
            _wrmsr(_MSR_GS_BASE, HOSTILE_BASE),
            load_number("rax", dr7),
            bytes.fromhex("0f23f8"),  # mov dr7, rax
            bytes.fromhex("0f20c0 4883f0") + bytes((_CR0_TS,)),  # mov rax, cr0; xor rax, TS
            bytes.fromhex("0f22c0"),  # mov cr0, rax
            b"\x68" + struct.pack("<I", flags) + b"\x9d",  # push, popfq
            *(load_number(name, value) for name, value in zip(_JUNK, values, strict=True)),
            load_number("rdi", state),
            load_number("rax", monitor_to_kernel),
            bytes.fromhex("ffd0"),  # call rax
        )
    )


def _wrmsr(msr: int, value: int) -> bytes:
    low, high = value & 0xFFFF_FFFF, value >> 32
    halves = load_number("rax", low) + load_number("rdx", high)
    return load_number("rcx", msr) + halves + b"\x0f\x30"
