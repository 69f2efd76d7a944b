"""Lines that fold at the width of a terminal, at blanks only.

Nothing is ever cut off, and no word is cut in two that fits into a line: half an operand
(``0xfff`` for ``0xfffffdff``) is another instruction. And no command is folded: half a command,
copied, is another command. One that is too long starts a line, and the terminal wraps it, which
gives it back whole.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

_MARK: Final = re.compile(r"\x1b\[[0-9;]*m")
"""A colour (ECMA-48, SGR): it takes no room."""

_INDENT: Final = 2

WIDEST: Final = 100
"""Columns of running text: a wider terminal does not make it easier to read."""

NARROWEST: Final = 40
"""Running text is never filled into fewer columns than this."""

_COMMAND: Final = re.compile(
    r"(?<=')kpatch [a-z][^']*(?=')"
    r"|(?:^|(?<=: ))kpatch (?:apply|diff|explain|report|revert|scan|verify)(?!:)"
    r"(?:\$'(?:\\.|[^'\\])*'|'[^']*'|\\.|[^;'\\])*"
)
"""A command to copy: in quotes; or first, or behind a colon, up to the end or a semicolon.

A semicolon in a word that the shell has in quotes does not end it.
"""

_GLUE: Final = "\u2060"
"""What stands for a blank that nothing folds at: a character that no message has."""


def length(text: str) -> int:
    """The columns that ``text`` takes."""
    return len(_MARK.sub("", text))


def folded(text: str, width: int, indent: int | None = None) -> Iterator[str]:
    """The line ``text`` as lines of at most ``width`` columns; 0 stands for no limit.

    The later ones are indented by ``indent``, without it two columns deeper than the first. Only a
    command may be wider.
    """
    if not width or length(text) <= width:
        yield text
        return
    start = len(text) - len(text.lstrip(" "))
    margin = " " * min(start + _INDENT if indent is None else indent, width // 2)
    line = text[:start][: width // 2]
    # A word keeps the blanks in front of it: they are what aligns a column.
    for gap, word in re.findall(r"( *)([^ ]+)", _glued(text[start:])):
        if length(line) + len(gap) + length(word) <= width:
            line += gap + word
            continue
        if line.strip():
            yield _unglued(line)
            line = margin
        while _GLUE not in word and length(line) + length(word) > width:
            room = _reach(word, width - length(line))
            yield line + word[:room]
            line, word = margin, word[room:]
        line += word
    yield _unglued(line)


def fold(text: str, width: int) -> str:
    """Every line of ``text`` folded."""
    if not width:
        return text
    return "\n".join(part for line in text.split("\n") for part in folded(line, width))


def filled(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """A paragraph as lines of at most ``width`` columns that begin with ``first`` and ``later``."""
    lines = textwrap.wrap(
        _glued(text),
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [_unglued(line) for line in lines]


def _glued(text: str) -> str:
    return _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), text)


def _unglued(text: str) -> str:
    return text.replace(_GLUE, " ")


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
