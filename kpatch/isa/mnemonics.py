"""The names of instructions, where Capstone's word is not taken as it is."""

from __future__ import annotations

from typing import Final

_FAR: Final = {"call": "lcall", "jmp": "ljmp"}


def operation_of(mnemonic: str) -> str:
    """A mnemonic without prefixes: ``retf`` for ``bnd retf``."""
    return mnemonic.rpartition(" ")[2]


def mnemonic_of(mnemonic: str, operands: str) -> str:
    """The mnemonic of what Capstone writes as ``mnemonic operands``, prefixes with it.

    Capstone 5.0.9 gives FF /3 and FF /5, a far call and jump (SDM vol. 2), the near name where no
    prefix changes the operand size. The operand tells: it has no size, as a near one always has.
    """
    near = operation_of(mnemonic)
    if near in _FAR and operands.startswith("ptr "):
        return mnemonic.removesuffix(near) + _FAR[near]
    return mnemonic
