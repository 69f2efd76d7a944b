"""Byte expressions that find candidates quickly. A candidate is decoded before it counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kpatch.errors import SignatureError

# SDM vol. 2: STR is 0F 00 /1, LTR is 0F 00 /3. The middle three bits of ModRM are the /digit,
# so each has eight byte values in every one of the four addressing modes.
_MODRM: Final = {
    digit: bytes(mode << 6 | digit << 3 | low for mode in range(4) for low in range(8))
    for digit in (1, 3)
}
_KEYS: Final = {
    "str": re.compile(rb"\x0f\x00[" + re.escape(_MODRM[1]) + rb"]", re.DOTALL),
    "ltr": re.compile(rb"\x0f\x00[" + re.escape(_MODRM[3]) + rb"]", re.DOTALL),
}


def candidates(key: str, data: bytes, start: int, end: int) -> Iterator[int]:
    """Offsets in ``data[start:end]`` where the opcode of the instruction ``key`` may stand.

    Raises SignatureError for an instruction that has no expression here.
    """
    if key not in _KEYS:
        known = ", ".join(sorted(_KEYS))
        raise SignatureError(
            f"no byte prefilter for '{key}'", where="signature", todo=f"use one of: {known}"
        )
    return (found.start() for found in _KEYS[key].finditer(data, start, end))
