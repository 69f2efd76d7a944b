"""Byte expressions that find candidates quickly. A candidate is decoded before it counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kpatch.errors import SignatureError
from kpatch.units import Readable


def _with_digit(opcode: bytes, digit: int) -> bytes:
    """The opcode with a ModRM byte whose middle three bits are ``digit``, in every mode."""
    modrm = bytes(mode << 6 | digit << 3 | low for mode in range(4) for low in range(8))
    return re.escape(opcode) + b"[" + re.escape(modrm) + b"]"


# SDM vol. 2: STR is 0F 00 /1, LTR 0F 00 /3, SLDT 0F 00 /0, SIDT 0F 01 /1, SGDT 0F 01 /0;
# MOV to a register from memory is 8B, MOVZX 0F B6 and 0F B7.
_OPCODES: Final = {
    "str": _with_digit(b"\x0f\x00", 1),
    "ltr": _with_digit(b"\x0f\x00", 3),
    "sldt": _with_digit(b"\x0f\x00", 0),
    "sidt": _with_digit(b"\x0f\x01", 1),
    "sgdt": _with_digit(b"\x0f\x01", 0),
    "mov": rb"\x8b",
    "movzx": rb"\x0f[\xb6\xb7]",
}
_KEYS: Final = ("str", "ltr")

# SDM vol. 2, 2.1.1 and 2.2.1: legacy prefixes in any order, then REX. Repeating one changes
# nothing, so there may be more of them than there are kinds; no assembler emits more than four.
_PREFIXES: Final = b"\x66\x67\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65" + bytes(range(0x40, 0x50))
_MOST_PREFIXES: Final = 4

IMAGE_ALIGNMENT: Final = 4
"""A monitor image is an array of bytes that starts with u32: compilers align it to 4 at least."""

ANCHOR_REACH: Final = 512
"""The anchor stands this many bytes behind its routine's start at most (really about 10)."""


def candidates(key: str, data: Readable, start: int, end: int) -> Iterator[int]:
    """Offsets in ``data[start:end]`` where the opcode of the instruction ``key`` may stand.

    Raises SignatureError for an instruction that has no expression here.
    """
    if key not in _KEYS:
        known = ", ".join(sorted(_KEYS))
        raise SignatureError(
            f"no byte prefilter for '{key}'", where="signature", todo=f"use one of: {known}"
        )
    return (hit.start() for hit in _overlapping(_OPCODES[key], data, start, end))


def _overlapping(opcode: bytes, data: Readable, start: int, end: int) -> Iterator[re.Match[bytes]]:
    """Every match: the last byte of what looks like one may be the first byte of the next."""
    expression = re.compile(opcode, re.DOTALL)
    while found := expression.search(data, start, end):
        yield found
        start = found.start() + 1


def starts(mnemonics: frozenset[str], data: Readable, start: int, end: int) -> list[int]:
    """Offsets in ``data[start:end]`` where one of the instructions may begin, prefixes included.

    Every offset, where there is no expression for one of them.
    """
    if not mnemonics <= _OPCODES.keys():
        return list(range(start, end))
    opcode = b"|".join(_OPCODES[mnemonic] for mnemonic in sorted(mnemonics))
    found: set[int] = set()
    for hit in _overlapping(opcode, data, start, end + MOST_OPCODE):
        at = hit.start()
        while at >= start and hit.start() - at <= _MOST_PREFIXES:
            if at < end:
                found.add(at)
            at -= 1
            if at < 0 or data[at] not in _PREFIXES:
                break
    return sorted(found)


MOST_OPCODE: Final = 3
"""Bytes of the longest opcode with its ModRM."""
