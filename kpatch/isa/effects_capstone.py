"""The effects of an instruction as Capstone tells them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from kpatch.isa.capstone_layout import EFLAGS
from kpatch.isa.decode import decode_raw
from kpatch.isa.effects import CLEARS_THE_REST, FLAG_NAMES, HIGH_BYTES, WHOLE, Effects, ordered
from kpatch.isa.instruction import REGISTERS, SEGMENTS, Instruction, Memory, Register
from kpatch.units import ADDRESS_MASK

_SELECTOR: Final = 0x3


def _bits(prefix: str) -> tuple[int, ...]:
    numbers = EFLAGS[prefix]
    return tuple(1 << numbers[name] if name in numbers else 0 for name in FLAG_NAMES)


_TEST, _UNDEFINED = _bits("TEST"), _bits("UNDEFINED")
_GIVEN: Final = tuple(_bits(prefix) for prefix in ("MODIFY", "RESET", "SET", "PRIOR"))


def by_capstone(code: bytes) -> tuple[Instruction, Effects] | None:
    """The first instruction of ``code``, at address 0, and its effects."""
    found = decode_raw(code)
    if found is None:
        return None
    each, names, writes, flags = found
    flags_read = _mask(flags, _TEST)
    if "rflags" in names and not flags_read:
        flags_read = _mask_of_all()  # pushf and the like: it names none, so it means all
    defined = 0
    for given in _GIVEN:
        defined |= _mask(flags, given)
    undefined = _mask(flags, _UNDEFINED)
    written = _written(writes)
    return each, Effects(
        length=len(each.raw),
        memory=ordered(_plain(o) for o in each.operands if isinstance(o, Memory)),
        target=None if each.branch_target is None else each.branch_target & ADDRESS_MASK,
        reads=_read(names, each),
        writes=written,
        may_write=written,
        flags_read=flags_read,
        flags_written=defined & ~undefined,
        flags_changed=defined | undefined,
        flags_undefined=undefined,
    )


def _plain(operand: Memory) -> Memory:
    """``riz`` is Capstone's name for no index, where the encoding has room for one."""
    index = None if operand.index in ("riz", "eiz") else operand.index
    return operand._replace(index=index, scale=operand.scale if index else 1, size=0)


@cache  # the same few values again and again
def _mask(flags: int, bits: tuple[int, ...]) -> int:
    return sum(1 << at for at, bit in enumerate(bits) if flags & bit)


def _mask_of_all() -> int:
    return (1 << len(FLAG_NAMES)) - 1


def _read(names: Iterable[str], each: Instruction) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        if name in REGISTERS:
            holder, size = REGISTERS[name]
            mask = 0x2 if name in HIGH_BYTES else (1 << size) - 1
            if _loads_segment(each, name):
                mask = _SELECTOR
            found[holder] = found.get(holder, 0) | mask
    return found


def _loads_segment(each: Instruction, name: str) -> bool:
    """A move to a segment register takes 16 bits of its source, however wide (vol. 2, MOV)."""
    match each.operands:
        case (Register(name=target), Register(name=source)):
            return target in SEGMENTS and source == name
        case _:
            return False


def _written(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        if name in REGISTERS:
            holder, size = REGISTERS[name]
            mask = 0x2 if name in HIGH_BYTES else (1 << size) - 1
            found[holder] = found.get(holder, 0) | (WHOLE if size >= CLEARS_THE_REST else mask)
    return found
