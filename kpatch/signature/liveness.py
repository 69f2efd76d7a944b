"""Whether a register still matters from some instruction on: who reads it before it is written.

Every way through the code is followed to its end. A way that leaves what can be followed counts
as a reader: what cannot be proven dead is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kpatch.isa.decode import MAX_LENGTH, Instruction, Memory, Register, decode_one
from kpatch.signature.model import MOST_INSTRUCTIONS

FLAGS: Final = "rflags"

_WHOLE: Final = 8
_CLEARS_THE_REST: Final = 4
"""A write of 32 bits clears the upper half, a shorter one leaves the rest. SDM vol. 1, 3.4.1.1."""

_HIGH_BYTES: Final = frozenset({"ah", "bh", "ch", "dh"})
"""The second byte of a register: a read of it needs the two low bytes."""

_IMPLICIT_WRITERS: Final = frozenset({"cpuid", "rdmsr", "rdtsc", "xgetbv", "cdq", "cqo"})
"""Write their registers whole without naming them. Others that do are not counted as writers."""

_MAY_NOT_WRITE: Final = ("cmov", "bsf", "bsr", "lar", "lsl", "cmpxchg")
"""Leave their destination as it is in some cases (SDM vol. 2)."""

_SEGMENTS: Final = frozenset({"es", "cs", "ss", "ds", "fs", "gs"})
_SELECTOR: Final = 2
"""A move to a segment register takes 16 bits of its source, however wide. SDM vol. 2, MOV."""

_SETS_ALL_FLAGS: Final = frozenset({"add", "sub", "and", "or", "xor", "cmp", "test", "neg"})
"""Write all six status flags and read none."""


def still_needed(data: bytes, start: int, register: str, onward: int | None = None) -> str:
    """Why ``register`` matters to the code at offset ``start`` of ``data``; empty if it is dead.

    ``register`` is a 64-bit name or :data:`FLAGS`. A near return ends a way: the caller takes
    nothing in the registers that this is asked about. A far return goes on at ``onward``, where
    that is given.
    """
    pending: list[tuple[int, int]] = [(start, 0)]
    seen: set[tuple[int, int]] = set()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        address, fresh = place
        each = decode_one(data[address : address + MAX_LENGTH], address) if address >= 0 else None
        if each is None or len(seen) > MOST_INSTRUCTIONS:
            return f"code beyond {address:#x}, where it cannot be followed, may read {register}"
        if _reads(each, register, fresh):
            return f"'{each.text}' at {address:#x} still reads {register}"
        fresh = _fresh_after(each, register, fresh)
        if fresh == _WHOLE:
            continue
        if each.is_return:
            if onward is not None and each.is_far_return:
                pending.append((onward, fresh))
            continue
        if each.transfers_control and each.branch_target is None:
            return f"what '{each.text}' at {address:#x} goes to may read {register}"
        pending.extend((successor, fresh) for successor in _successors(each))
    return ""


def reader(code: Iterable[Instruction], register: str) -> Instruction | None:
    """The first of ``code``, run in a row, that needs what ``register`` held in front of it."""
    fresh = 0
    for each in code:
        if _reads(each, register, fresh):
            return each
        fresh = _fresh_after(each, register, fresh)
    return None


def _reads(each: Instruction, register: str, fresh: int) -> bool:
    """Whether ``each`` reads more of ``register`` than its low ``fresh`` bytes."""
    if register not in each.reads or _is_zeroing(each):
        return False
    if any(isinstance(o, Memory) and register in (o.base, o.index) for o in each.operands):
        return True
    named = _named(each, register)
    target = each.operands[0] if each.operands else None
    if named and isinstance(target, Register) and target.name in _SEGMENTS:
        return fresh < _SELECTOR
    return not named or any((2 if o.name in _HIGH_BYTES else o.size) > fresh for o in named)


def _fresh_after(each: Instruction, register: str, fresh: int) -> int:
    """How many low bytes of ``register`` are newly written once ``each`` has run."""
    if register not in each.writes or each.mnemonic.startswith(_MAY_NOT_WRITE):
        return fresh
    if register == FLAGS:
        return _WHOLE if each.mnemonic in _SETS_ALL_FLAGS else fresh
    named = [o for o in _named(each, register) if o.name not in _HIGH_BYTES]
    if not named:
        return _WHOLE if each.mnemonic in _IMPLICIT_WRITERS else fresh
    written = min(o.size for o in named)
    return _WHOLE if written >= _CLEARS_THE_REST else max(fresh, written)


def _named(each: Instruction, register: str) -> list[Register]:
    return [o for o in each.operands if isinstance(o, Register) and o.whole == register]


def _successors(each: Instruction) -> Iterator[int]:
    if each.branch_target is not None:
        yield each.branch_target
    if each.mnemonic != "jmp":
        yield each.end


def _is_zeroing(each: Instruction) -> bool:
    """``xor r, r`` reads nothing that matters."""
    return (
        each.mnemonic in ("xor", "sub")
        and len(each.operands) == 2
        and isinstance(each.operands[0], Register)
        and each.operands[0] == each.operands[1]
    )
