"""Lines that fold at the width of a terminal, at blanks only.

Nothing is ever cut off, and no word is cut in two that fits into a line: half an operand
(``0xfff`` for ``0xfffffdff``) is another instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_MARK: Final = re.compile(r"\x1b\[[0-9;]*m")
"""A colour (ECMA-48, SGR): it takes no room."""

_INDENT: Final = 2

WIDEST: Final = 100
"""Columns of running text: a wider terminal does not make it easier to read."""


def length(text: str) -> int:
    """The columns that ``text`` takes."""
    return len(_MARK.sub("", text))


def folded(text: str, width: int, indent: int | None = None) -> Iterator[str]:
    """The line ``text`` as lines of at most ``width`` columns; 0 stands for no limit.

    The later ones are indented by ``indent``, without it two columns deeper than the first.
    """
    if not width or length(text) <= width:
        yield text
        return
    start = len(text) - len(text.lstrip(" "))
    margin = " " * min(start + _INDENT if indent is None else indent, width // 2)
    line = text[:start][: width // 2]
    # A word keeps the blanks in front of it: they are what aligns a column.
    for gap, word in re.findall(r"( *)([^ ]+)", text[start:]):
        if length(line) + len(gap) + length(word) <= width:
            line += gap + word
            continue
        if line.strip():
            yield line
            line = margin
        while length(line) + length(word) > width:
            room = _reach(word, width - length(line))
            yield line + word[:room]
            line, word = margin, word[room:]
        line += word
    yield line


def fold(text: str, width: int) -> str:
    """Every line of ``text`` folded."""
    if not width:
        return text
    return "\n".join(part for line in text.split("\n") for part in folded(line, width))


def _reach(word: str, room: int) -> int:
    """How many characters of ``word`` fill ``room`` columns."""
    at = columns = 0
    while at < len(word):
        mark = _MARK.match(word, at)
        if mark:
            at = mark.end()
            continue
        if columns == room:
            break
        at, columns = at + 1, columns + 1
    return at
