"""How Capstone 5.0 lays out what it says of an instruction, and its numbers: capstone.h and x86.h.

Versions 5.0.1 to 5.0.9 have the same. A test compares all of it with the installed package.
"""

from __future__ import annotations

from ctypes import (
    POINTER,
    Structure,
    Union,
    c_bool,
    c_char,
    c_int,
    c_int8,
    c_int64,
    c_ubyte,
    c_uint,
    c_uint8,
    c_uint16,
    c_uint64,
)
from typing import Final

VERSION: Final = (5, 0)

ARCH_X86: Final = 3
MODE_64: Final = 1 << 3
OPT_DETAIL: Final = 2
OPT_ON: Final = 3  # the package of 5.0.1 says 1, and has registers for the memory of movs and cmps
ERR_MEM: Final = 1
OP_REG: Final = 1
OP_IMM: Final = 2
OP_MEM: Final = 3
GRP_JUMP: Final = 1
GRP_CALL: Final = 2
GRP_RET: Final = 3
GRP_IRET: Final = 5

EFLAGS: Final = {
    "MODIFY": {"CF": 1, "PF": 4, "AF": 0, "ZF": 3, "SF": 2, "OF": 5, "DF": 8},
    "PRIOR": {"CF": 16, "PF": 15, "AF": 14, "ZF": 13, "SF": 12, "OF": 11, "DF": 19},
    "RESET": {"CF": 22, "PF": 29, "AF": 26, "ZF": 51, "SF": 25, "OF": 21, "DF": 23},
    "SET": {"CF": 30, "PF": 56, "AF": 55, "ZF": 54, "SF": 53, "OF": 52, "DF": 31},
    "TEST": {"CF": 37, "PF": 36, "AF": 50, "ZF": 35, "SF": 34, "OF": 33, "DF": 39},
    "UNDEFINED": {"CF": 45, "PF": 43, "AF": 44, "ZF": 42, "SF": 41, "OF": 40},
}
"""What an instruction does to a flag -> the flag -> the number of the bit that says so."""


class X86Mem(Structure):
    """A memory operand: x86_op_mem."""

    _fields_ = (
        ("segment", c_uint),
        ("base", c_uint),
        ("index", c_uint),
        ("scale", c_int),
        ("disp", c_int64),
    )


class X86Value(Union):
    """What an operand is, as its type says."""

    _fields_ = (("reg", c_uint), ("imm", c_int64), ("mem", X86Mem))


class X86Operand(Structure):
    """An operand: cs_x86_op."""

    _fields_ = (
        ("type", c_uint),
        ("value", X86Value),
        ("size", c_uint8),
        ("access", c_uint8),
        ("avx_bcast", c_uint),
        ("avx_zero_opmask", c_bool),
    )


class X86Encoding(Structure):
    """Where the parts of an instruction stand in its bytes: cs_x86_encoding."""

    _fields_ = (
        ("modrm_offset", c_uint8),
        ("disp_offset", c_uint8),
        ("disp_size", c_uint8),
        ("imm_offset", c_uint8),
        ("imm_size", c_uint8),
    )


class X86(Structure):
    """What is true of x86 instructions only: cs_x86."""

    _fields_ = (
        ("prefix", c_uint8 * 4),
        ("opcode", c_uint8 * 4),
        ("rex", c_uint8),
        ("addr_size", c_uint8),
        ("modrm", c_uint8),
        ("sib", c_uint8),
        ("disp", c_int64),
        ("sib_index", c_uint),
        ("sib_scale", c_int8),
        ("sib_base", c_uint),
        ("xop_cc", c_uint),
        ("sse_cc", c_uint),
        ("avx_cc", c_uint),
        ("avx_sae", c_bool),
        ("avx_rm", c_uint),
        ("flags", c_uint64),
        ("op_count", c_uint8),
        ("operands", X86Operand * 8),
        ("encoding", X86Encoding),
    )


class Detail(Structure):
    """The front of cs_detail, whose last member is a union of all processors."""

    _fields_ = (
        ("regs_read", c_uint16 * 20),
        ("regs_read_count", c_ubyte),
        ("regs_write", c_uint16 * 20),
        ("regs_write_count", c_ubyte),
        ("groups", c_ubyte * 8),
        ("groups_count", c_ubyte),
        ("writeback", c_bool),
        ("arch", X86),
    )


class Insn(Structure):
    """An instruction: cs_insn."""

    _fields_ = (
        ("id", c_uint),
        ("address", c_uint64),
        ("size", c_uint16),
        ("bytes", c_ubyte * 24),
        ("mnemonic", c_char * 32),
        ("op_str", c_char * 160),
        ("detail", POINTER(Detail)),
    )


RegisterList = c_uint16 * 64
"""cs_regs."""
