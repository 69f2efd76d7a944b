"""Where the two decoders differ and the SDM says who is right.

A row names what is taken from iced-x86 for a mnemonic of Capstone's; the comment is what the SDM
(vol. 2, the instruction's own page) says, and what Capstone 5.0.9 says instead. Every row has a
test that compares it with effects written down by hand. What has no row stays a doubt.
"""

from __future__ import annotations

from typing import Final

from kpatch.isa.effects import CF, Effects
from kpatch.isa.instruction import Immediate, Instruction, Memory, Register

_READS: Final = ("reads",)
_WRITES: Final = ("writes", "may_write")
_FLAGS_READ: Final = ("flags_read",)
_FLAGS_WRITTEN: Final = ("flags_written", "flags_changed", "flags_undefined")

_ROWS: Final[dict[str, tuple[str, ...]]] = {
    # Reads both operands, writes the flags alone. Capstone: [mem], reg has no effects, and
    # rax, imm writes rax.
    "test": (*_READS, *_WRITES, *_FLAGS_WRITTEN),
    "cmc": _FLAGS_READ,  # CF := not CF
    "rcl": (*_FLAGS_READ, *_FLAGS_WRITTEN),  # rotates through CF
    "rcr": (*_FLAGS_READ, *_FLAGS_WRITTEN),
    "lahf": _FLAGS_READ,  # SF, ZF, AF, PF, CF. Capstone names none of them
    "cmpsb": _FLAGS_READ, "cmpsd": _FLAGS_READ, "cmpsq": _FLAGS_READ, "cmpsw": _FLAGS_READ,  # DF
    "scasb": _FLAGS_READ, "scasd": _FLAGS_READ, "scasq": _FLAGS_READ, "scasw": _FLAGS_READ,  # DF
    "xlatb": ("memory", *_READS, *_WRITES),  # AL := [rBX + AL]. Capstone: nothing
    "cmpxchg": (*_READS, *_WRITES, *_FLAGS_WRITTEN),  # reads and may load the accumulator
    "cdq": _WRITES, "cqo": _WRITES, "cwd": _WRITES,  # rDX alone. Capstone: rAX, too
    "stosb": (*_READS, *_WRITES), "stosw": (*_READS, *_WRITES),
    "stosd": (*_READS, *_WRITES), "stosq": (*_READS, *_WRITES),  # rCX with rep only
    "push": (*_READS, *_WRITES), "pop": (*_READS, *_WRITES),  # of fs and gs: rSP, too
    "retf": (*_READS, *_WRITES), "retfq": (*_READS, *_WRITES), "enter": (*_READS, *_WRITES),
    "iretq": (*_READS, *_WRITES), "iretd": (*_READS, *_WRITES),
    "leave": (*_READS, *_WRITES),  # rSP := rBP first
    "nop": _READS,  # an operand is not accessed
    # A destination that is not written in some cases is passed on: iced counts that as a read.
    **dict.fromkeys(("bsf", "bsr", "lar", "lsl"), (*_READS, *_WRITES)),
    **{
        f"cmov{condition}": (*_READS, *_WRITES)
        for condition in ("a", "ae", "b", "be", "e", "g", "ge", "l", "le", "ne", "no", "np", "ns",
                          "o", "p", "s")
    },
    # A count that is 0 modulo the width leaves the flags.
    **dict.fromkeys(("shl", "shr", "sal", "sar", "rol", "ror", "shld", "shrd"), _FLAGS_WRITTEN),
}  # fmt: skip

_COUNTED: Final = frozenset(
    {"shl", "shr", "sal", "sar", "rol", "ror", "rcl", "rcr", "shld", "shrd"}
)
_REPEATED: Final = ("repe", "repne", "rep")
_ALIKE: Final = frozenset({"xor", "sub"})


def settled(each: Instruction, capstone: Effects, iced: Effects) -> tuple[Effects, Effects]:
    """Both opinions about ``each``, after what the SDM says about it."""
    mnemonic = each.operation
    aspects = _ROWS.get(mnemonic, ())
    same = capstone.memory == iced.memory or "memory" in aspects
    if capstone.length != iced.length or not same:
        return capstone, iced
    if mnemonic == "mov" and _moves_system_register(each):
        aspects = _FLAGS_WRITTEN  # MOV to and from CRn, DRn: the status flags are undefined
    if aspects:
        capstone = capstone._replace(**{aspect: getattr(iced, aspect) for aspect in aspects})
    if mnemonic == "lea":  # an address is made of whole registers, also where half is kept
        iced = iced._replace(reads=capstone.reads)
    both = capstone, iced
    if _is_zeroing(each):
        both = _without_reads(both)
    if _may_leave_flags(each, mnemonic):
        both = _flags_may_stay(both)
    if _may_shift_all_out(each, mnemonic):
        both = _carry_is_undefined(both)
    return both


def _moves_system_register(each: Instruction) -> bool:
    return any(
        isinstance(operand, Register) and operand.name[:2] in ("cr", "dr")
        for operand in each.operands
    )


def _is_zeroing(each: Instruction) -> bool:
    """``xor r, r`` and ``sub r, r`` are 0 whatever r was."""
    match each.operands:
        case (Register() as one, Register() as other):
            return each.mnemonic in _ALIKE and one == other
        case _:
            return False


def _without_reads(both: tuple[Effects, Effects]) -> tuple[Effects, Effects]:
    one, other = both
    return one._replace(reads={}), other._replace(reads={})


def _may_leave_flags(each: Instruction, mnemonic: str) -> bool:
    """Shifts by cl, where the count may be 0, and repeated string instructions, with rcx 0."""
    if each.mnemonic.startswith(_REPEATED):
        return True
    last = each.operands[-1] if each.operands else None
    return mnemonic in _COUNTED and isinstance(last, Register) and last.name == "cl"


def _flags_may_stay(both: tuple[Effects, Effects]) -> tuple[Effects, Effects]:
    one, other = both
    return one._replace(flags_written=0), other._replace(flags_written=0)


def _may_shift_all_out(each: Instruction, mnemonic: str) -> bool:
    """A count that may be the width of an operand of 8 or 16 bits, or more (SHL, SHLD)."""
    if mnemonic not in _SHIFTS or not isinstance(each.operands[0], Register | Memory):
        return False
    width = 8 * each.operands[0].size
    last = each.operands[-1]
    if isinstance(last, Immediate):
        return last.value & _COUNT >= width
    return width < _COUNT and isinstance(last, Register) and last.name == "cl"


_SHIFTS: Final = frozenset({"shl", "shr", "sal", "shld", "shrd"})
_COUNT: Final = 0x1F


def _carry_is_undefined(both: tuple[Effects, Effects]) -> tuple[Effects, Effects]:
    one, other = both
    return one._replace(flags_undefined=one.flags_undefined | CF), other
