"""Where the values of a manifest stand in its text.

pkg writes manifests as compact JSON and reads them with libucl, which also takes keys and
values without quotes, ``=`` for ``:``, missing braces around the whole, comments, and text
between ``<<WORD`` and ``WORD``. This reader takes all of that. It gives positions, not a
tree: a manifest is mended in place, character by character, and never written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kpatch.errors import DamagedFileError

MAX_DEPTH: Final = 32
ARRAY_ITEM: Final = "[]"
"""The part of a path that stands for any item of an array."""

_SPACE: Final = re.compile(r"(?:[\s,;]+|#[^\n]*)*")
_QUOTED: Final = re.compile(
    r""" "([^"\\]*(?:\\.[^"\\]*)*)" | '([^'\\]*(?:\\.[^'\\]*)*)' """, re.DOTALL | re.VERBOSE
)
_BARE_KEY: Final = re.compile(r"[^\s:=,;{}\[\]\"'#]+")
_BARE_VALUE: Final = re.compile(r"[^\s,;{}\[\]\"'][^,;{}\[\]\n]*")
_SEPARATOR: Final = re.compile(r"\s*[:=]?\s*")
_HEREDOC: Final = re.compile(r"<<([A-Z]+)\n")
_IN_COMMENT: Final = re.compile(r'"|/\*')
"""What moves the end of a comment for libucl: comments nest, and quotes hide it."""
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class Scalar:
    """A value that is no object or array: the keys that lead to it, and its characters
    ``start`` to ``end``, without the quotes.
    """

    path: tuple[str, ...]
    start: int
    end: int


@dataclass
class _Reader:
    """A position in the text, and the objects and arrays that are open there."""

    text: str
    position: int
    end: int
    path: tuple[str, ...] = ()
    open: list[str] = field(default_factory=list)  # their closing brackets


def scalars(text: str, start: int = 0, end: int | None = None) -> Iterator[Scalar]:
    """All values in ``text[start:end]``, in order.

    Raises DamagedFileError when brackets, quotes or comments do not end, or brackets are
    nested deeper than MAX_DEPTH.
    """
    reader = _Reader(text, start, len(text) if end is None else end)
    is_braced = _skip_space(reader) and text[reader.position] == "{"
    if is_braced:
        _open(reader)
    while _skip_space(reader):
        if text[reader.position] in "}]":
            _close(reader)
            if is_braced and not reader.open:
                break
            continue
        if reader.open and reader.open[-1] == "]":
            reader.path += (ARRAY_ITEM,)
        else:
            _read_key(reader)
        if reader.position < reader.end and text[reader.position] in "{[":
            _open(reader)  # the key stays in the path until the bracket closes
        else:
            yield _read_scalar(reader)
    if reader.open or _skip_space(reader):
        raise _broken(reader, "the brackets do not match")


def unescape(text: str) -> str:
    r"""A quoted text as it is meant: ``\/`` is a slash, ``\u002e`` a dot."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), text)


def _skip_space(reader: _Reader) -> bool:
    """Go to the next thing that matters. Returns whether there is one."""
    while True:
        space = _SPACE.match(reader.text, reader.position, reader.end)
        reader.position = space.end() if space else reader.position
        if not reader.text.startswith("/*", reader.position, reader.end):
            return reader.position < reader.end
        closed = reader.text.find("*/", reader.position + 2, reader.end)
        if closed < 0:
            raise _broken(reader, "a comment does not end")
        if _IN_COMMENT.search(reader.text, reader.position + 2, closed):
            raise _broken(reader, "a comment has a quote or another comment in it")
        reader.position = closed + 2


def _read_key(reader: _Reader) -> None:
    """Put the key into the path, and go to its value."""
    quoted = _QUOTED.match(reader.text, reader.position, reader.end)
    match = quoted or _BARE_KEY.match(reader.text, reader.position, reader.end)
    if match is None:
        raise _broken(reader, "a key is expected")
    if not quoted and match[0].startswith("."):  # .include, say: libucl carries it out
        raise _broken(reader, "a macro stands there, which no manifest has")
    reader.path += (unescape(match[1] or match[2] or "") if quoted else match[0],)
    separator = _SEPARATOR.match(reader.text, match.end(), reader.end)
    reader.position = separator.end() if separator else match.end()


def _read_scalar(reader: _Reader) -> Scalar:
    """Go behind the value, and take its key out of the path."""
    text, position, end = reader.text, reader.position, reader.end
    if quoted := _QUOTED.match(text, position, end):
        start, stop = position + 1, quoted.end() - 1
        reader.position = quoted.end()
    elif heredoc := _HEREDOC.match(text, position, end):
        start = heredoc.end()
        stop = text.find(f"\n{heredoc[1]}\n", start - 1, end) + 1
        if not stop:
            raise _broken(reader, f"the text up to {heredoc[1]} does not end")
        reader.position = stop + len(heredoc[1])
    elif bare := _BARE_VALUE.match(text, position, end):
        start, stop = position, position + len(bare[0].rstrip())
        reader.position = bare.end()
    else:
        raise _broken(reader, "a value is expected")
    path, reader.path = reader.path, reader.path[:-1]
    return Scalar(path, start, stop)


def _open(reader: _Reader) -> None:
    if len(reader.open) == MAX_DEPTH:
        raise _broken(reader, f"more than {MAX_DEPTH} brackets are open")
    reader.open.append("}" if reader.text[reader.position] == "{" else "]")
    reader.position += 1


def _close(reader: _Reader) -> None:
    if not reader.open or reader.open.pop() != reader.text[reader.position]:
        raise _broken(reader, "the brackets do not match")
    reader.path = reader.path[:-1]
    reader.position += 1


def _broken(reader: _Reader, what: str) -> DamagedFileError:
    return DamagedFileError(what, where=f"character {reader.position}")
