"""What an instruction reads and writes, as values.

Registers are the sixteen general ones, as masks of their bytes; flags are masks of
:data:`FLAG_NAMES`.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kpatch.isa.instruction import Memory

WHOLE: Final = 0xFF
"""The mask of all eight bytes of a register."""

HIGH_BYTES: Final = frozenset({"ah", "bh", "ch", "dh"})

CLEARS_THE_REST: Final = 4
"""Bytes. A write of 32 bits clears the upper half. SDM vol. 1, 3.4.1.1."""

FLAG_NAMES: Final = ("CF", "PF", "AF", "ZF", "SF", "OF", "DF")
CF, PF, AF, ZF, SF, OF, DF = (1 << bit for bit in range(len(FLAG_NAMES)))
STATUS_FLAGS: Final = CF | PF | AF | ZF | SF | OF
"""SDM vol. 1, 3.4.3.1. The direction flag is no status flag: arithmetic leaves it alone."""

Masks = Mapping[str, int]
"""64-bit register -> mask of its bytes."""


class Effects(NamedTuple):
    """What one instruction does.

    ``reads`` may be read; ``writes`` are written in every case, ``may_write`` in some.
    ``flags_written`` get a value that the SDM defines, in every case; ``flags_changed`` may get
    another one; ``flags_undefined`` may be left undefined by the SDM. ``memory`` are the memory
    operands, with ``size`` 0: the decoders count the bytes of system tables differently.
    """

    length: int
    memory: tuple[Memory, ...]
    target: int | None
    reads: Masks
    writes: Masks
    may_write: Masks
    flags_read: int
    flags_written: int
    flags_changed: int
    flags_undefined: int


def ordered(operands: Iterable[Memory]) -> tuple[Memory, ...]:
    """Memory operands in an order that does not depend on how a decoder lists them."""
    listed = tuple(operands)
    return listed if len(listed) < 2 else tuple(sorted(listed, key=repr))


def names_of(flags: int) -> str:
    """The flags of a mask, by name."""
    return ", ".join(name for bit, name in enumerate(FLAG_NAMES) if flags & 1 << bit)
