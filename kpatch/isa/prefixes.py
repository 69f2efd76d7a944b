"""Prefixes of which the manuals do not say what a CPU makes of them."""

from __future__ import annotations

from typing import Final

_GROUPS: Final = (b"\xf0\xf2\xf3", b"\x2e\x36\x3e\x26\x64\x65", b"\x66", b"\x67")
_REX: Final = range(0x40, 0x50)


def contradict(code: bytes) -> bool:
    """Whether two different prefixes of one group stand in front of an instruction, or a REX prefix
    in front of another prefix. SDM vol. 2, 2.1.1 and 2.2.1: one of each group, and REX last.
    """
    seen: dict[bytes, int] = {}
    is_behind_rex = False
    for byte in code:
        group = next((group for group in _GROUPS if byte in group), None)
        if group is not None:
            if is_behind_rex or seen.setdefault(group, byte) != byte:
                return True
        elif byte not in _REX:
            return False
        elif is_behind_rex:
            return True
        else:
            is_behind_rex = True
    return False
