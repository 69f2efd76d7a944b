"""Addresses that explorations have at two or three places: what may be made of them.

Each bit of them is set at one place and clear at another, but not each two bits, nor each bit of a
sum. So nothing is decided by them. What may decide is a distance between two of one array, which is
the same wherever that lies; and whether there is one at all, because no such address is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kpatch.isa.instruction import Immediate, Instruction
from kpatch.verify.world.origins import (
    CALCULATED,
    DESCRIPTOR,
    NONE,
    OF_DATA,
    PLACES,
    SHARED,
    Bytes,
    Origins,
    origins,
)

_EQUAL_TO_SHARED: Final = frozenset({"cmp", "cmpxchg"})
_EQUAL_TO_DESCRIPTOR: Final = frozenset({"cmp", "sub", "xor"})
_ENOUGH: Final = 4
"""Bytes of an address from its lowest on that are never all 0: all lie in the upper 2 GiB (psABI,
3.5.1, kernel code model)."""
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


def parts(value: Bytes) -> Bytes:
    """``value`` as an operand: one or two bytes of an address are only bits of it."""
    if len(value) >= _ENOUGH:
        return value
    return tuple(
        byte
        if PLACES.isdisjoint(byte.origins)
        else byte._replace(origins=byte.origins | {CALCULATED})
        for byte in value
    )


def flag_origins(
    instruction: Instruction, operands: Sequence[Bytes], names: Origins, flag: str
) -> Origins:
    """What a flag comes from, where the result comes from ``names``."""
    if PLACES.isdisjoint(names):
        return names
    if _is_for_zero(instruction) and _is_address(operands[0]):
        is_known = flag in ("ZF", "CF", "OF") and CALCULATED not in names
    else:
        of_each = [origins(value) for value in operands]
        is_known = flag == "ZF" and _is_equality(instruction.operation, of_each, names)
    return names - PLACES if is_known else names | {CALCULATED}


def _is_for_zero(instruction: Instruction) -> bool:
    match instruction.operands:
        case (one, Immediate(value=0)):
            return instruction.operation == "cmp" and one.size >= _ENOUGH
        case (one, other):
            whole = one == other and one.size >= _ENOUGH
            return whole and instruction.operation in ("test", "and", "or")
        case _:
            return False


def _is_address(value: Bytes) -> bool:
    """Whether as many bytes are those of an address; narrower ones do not get here."""
    return not any(PLACES.isdisjoint(byte.origins) for byte in value[:_ENOUGH])


def _is_equality(operation: str, operands: Sequence[Origins], names: Origins) -> bool:
    """Whether ZF says no more than that an address is the one that CPUs have left in the patch's
    own data, or that a TSS is the one that the descriptor names.
    """
    found = frozenset[str]().union(*(names for names in operands if PLACES.isdisjoint(names)))
    if operation in _EQUAL_TO_SHARED and SHARED in found:
        return CALCULATED not in names.union(*operands)
    return operation in _EQUAL_TO_DESCRIPTOR and DESCRIPTOR in found and OF_DATA not in names
