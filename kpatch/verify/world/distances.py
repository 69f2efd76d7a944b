"""Addresses that explorations have at two or three places: what may be made of them.

Each bit of them is set at one place and clear at another, but not each two bits, nor each bit of a
sum. So nothing is decided by them. What may decide is a distance between two of one array, which is
the same wherever that lies; and whether there is one at all, because no such address is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kpatch.isa.instruction import Immediate, Instruction
from kpatch.verify.world.origins import CALCULATED, NONE, PLACES, SHARED, Origins

_EQUAL_TO_SHARED: Final = frozenset({"cmp", "cmpxchg"})
_NEGATIVE: Final = frozenset({"neg", "not", "xadd"})


def gone(mnemonic: str, operands: Sequence[Origins]) -> Origins:
    """What a difference no longer comes from, where both operands count from one place."""
    if mnemonic not in ("sub", "cmp"):
        return NONE
    first, second = (names & PLACES for names in operands)
    return first if first == second and len(first) == 1 else NONE


def counts_once(mnemonic: str, operands: Sequence[Origins]) -> bool:
    """Whether an address is still one after it was moved, or added to."""
    if mnemonic in _NEGATIVE or not operands:
        return False
    first, *others = (names & PLACES for names in operands)
    return not any(others) or (mnemonic == "add" and not first)


def flag_origins(
    instruction: Instruction, operands: Sequence[Origins], names: Origins, flag: str
) -> Origins:
    """What a flag comes from, where the result comes from ``names``."""
    if PLACES.isdisjoint(names):
        return names
    is_equality = _is_for_zero(instruction) or (
        instruction.operation in _EQUAL_TO_SHARED and flag == "ZF" and _is_shared(operands)
    )
    if is_equality and flag in ("ZF", "CF", "OF") and CALCULATED not in names:
        return names - PLACES
    return names | {CALCULATED}


def _is_for_zero(instruction: Instruction) -> bool:
    match instruction.operands:
        case (one, Immediate(value=0)):
            return instruction.operation == "cmp" and one.size == 8
        case (one, other):
            whole = one == other and one.size == 8
            return whole and instruction.operation in ("test", "and", "or")
        case _:
            return False


def _is_shared(operands: Sequence[Origins]) -> bool:
    """One operand is what CPUs have left in the patch's own data: an address, too."""
    return any(SHARED in names and PLACES.isdisjoint(names) for names in operands)
