"""Makes text safe to show: names come from files that anyone may have made.

A line break in a name would forge a line of a report, an escape sequence would steer the
terminal. JSON escapes them by itself; text goes through here.
"""

from __future__ import annotations

from typing import Any


def printable(value: Any) -> Any:
    r"""A document (or a string) in which every string is one line of printable characters.

    The others are shown as ``\n`` or ``\x1b``; bytes of a file name that are not UTF-8 too.
    """
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_shown, value))
    if isinstance(value, dict):
        return {key: printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [printable(each) for each in value]
    return value


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if 0xDC80 <= ord(character) <= 0xDCFF:  # PEP 383: a byte that did not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
