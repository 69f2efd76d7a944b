"""Whether a register still matters from some instruction on: who reads it before it is written.

Every way through the code is followed to its end. A way that leaves what can be followed counts
as a reader: what cannot be proven dead is alive. What an instruction reads is what either of two
decoders says that it reads; what it writes is what both say (:mod:`kpatch.isa.agreed`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from kpatch.isa.agreed import Merged, effects_of
from kpatch.isa.decode import decode_one
from kpatch.isa.effects import STATUS_FLAGS, WHOLE, Effects
from kpatch.isa.instruction import MAX_LENGTH, Instruction
from kpatch.signature.model import MOST_INSTRUCTIONS
from kpatch.units import Readable

FLAGS: Final = "rflags"
"""The status flags, where a register is asked for."""


def still_needed(data: Readable, start: int, register: str, onward: int | None = None) -> str:
    """Why ``register`` matters to the code at offset ``start`` of ``data``; empty if it is dead.

    ``register`` is a 64-bit name or :data:`FLAGS`. A near return ends a way: the caller takes
    nothing in the registers that this is asked about. A far return goes on at ``onward``, where
    that is given.
    """
    # An address, and the parts (bytes, or flags) that still hold what was there at the start.
    pending: list[tuple[int, int]] = [(start, _whole(register))]
    seen: set[tuple[int, int]] = set()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        address, stale = place
        code = bytes(data[address : address + MAX_LENGTH]) if address >= 0 else b""
        each, known, successors = _step(code, address)
        if each is None or known is None or len(seen) > MOST_INSTRUCTIONS:
            return f"code beyond {address:#x}, where it cannot be followed, may read {register}"
        if not known.understood:
            return (
                f"two decoders differ about '{each.text}' at {address:#x} ({known.doubts[0]}), "
                f"which may read {register}"
            )
        if _reads(known.effects, register) & stale:
            return f"'{each.text}' at {address:#x} still reads {register}"
        stale &= ~_writes(known.effects, register)
        if not stale:
            continue
        if each.is_return:
            if onward is not None and each.is_far_return:
                pending.append((onward, stale))
            continue
        if each.transfers_control and each.branch_target is None:
            return f"what '{each.text}' at {address:#x} goes to may read {register}"
        for successor in successors:
            pending.append((successor, stale))
    return ""


def reader(code: Iterable[Instruction], register: str) -> Instruction | None:
    """The first of ``code``, run in a row, that may need what ``register`` held in front of it."""
    stale = _whole(register)
    for instruction in code:
        known = effects_of(instruction.raw)
        if known is None or _reads(known.effects, register) & stale:
            return instruction
        stale &= ~_writes(known.effects, register)
    return None


def _whole(register: str) -> int:
    return STATUS_FLAGS if register == FLAGS else WHOLE


def _reads(effects: Effects, register: str) -> int:
    return effects.flags_read if register == FLAGS else effects.reads.get(register, 0)


def _writes(effects: Effects, register: str) -> int:
    return effects.flags_written if register == FLAGS else effects.writes.get(register, 0)


@lru_cache(maxsize=4096)  # every register that is asked about comes to the same places
def _step(code: bytes, address: int) -> tuple[Instruction | None, Merged | None, tuple[int, ...]]:
    """The instruction at ``address``, its effects, and where it goes on."""
    each, known = decode_one(code, address), effects_of(code)
    if each is None:
        return None, known, ()
    target = () if each.branch_target is None else (each.branch_target,)
    return each, known, target if each.operation == "jmp" else (*target, each.end)
