"""Where the values of a manifest in block YAML stand, as pkg 1.0 and 1.1 wrote it.

Only what those two wrote is read: ``key: value`` lines, deeper ones indented by spaces,
``{...}`` and ``[...]`` on one line, and text blocks behind ``|`` or ``>``. Any other line is
part of a long text and holds nothing to mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kpatch.containers.package.ucl import MAX_DEPTH, Scalar, scalars, unescape
from kpatch.errors import DamagedFileError

_IS_BLOCK: Final = re.compile(r"^files:[ \t\r]*\n[ ]+[^\s{]", re.MULTILINE)
_LINE: Final = re.compile(r"[^\n]+")
_KEY_LINE: Final = re.compile(
    r"""(?P<indent>[ ]*)
        (?: "(?P<double>[^"]*)" | '(?P<single>[^']*)' | (?P<bare>[^\s"'#-].*?) ):
        (?: [ ]+ (?P<value>\S.*) )?""",
    re.VERBOSE,
)
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")


def is_block(text: str) -> bool:
    """Is the list of files of this manifest in block YAML?"""
    return not text.lstrip().startswith("{") and _IS_BLOCK.search(text) is not None


def block_scalars(text: str) -> Iterator[Scalar]:
    """All values in ``text``, in order.

    Raises DamagedFileError for brackets left open, and for more than MAX_DEPTH levels.
    """
    keys: list[tuple[int, str]] = []  # indent and name of the keys that lead here
    text_indent: int | None = None  # of the key whose text block is being skipped
    for found in _LINE.finditer(text):
        line = found[0].rstrip()
        indent = len(line) - len(line.lstrip(" "))
        if not line or (text_indent is not None and indent > text_indent):
            continue
        text_indent = None
        match = _KEY_LINE.fullmatch(line)
        if match is None:
            continue
        while keys and keys[-1][0] >= indent:
            keys.pop()
        if len(keys) == MAX_DEPTH:
            raise DamagedFileError(
                f"more than {MAX_DEPTH} levels of indents", where=f"character {found.start()}"
            )
        keys.append((indent, _key(match)))
        if match["value"] is None:
            continue
        if match["value"][0] in "|>":
            text_indent = indent
            continue
        start, end = (found.start() + offset for offset in match.span("value"))
        yield from _value(text, tuple(key for _, key in keys), start, end)


def _key(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return unescape(match["double"])
    return str(match["single"] if match["single"] is not None else match["bare"])


def _value(text: str, path: tuple[str, ...], start: int, end: int) -> Iterator[Scalar]:
    """The value of one line: a scalar, or all that is in a pair of brackets."""
    if text[start] == "{":
        for inner in scalars(text, start, end):
            yield Scalar(path + inner.path, inner.start, inner.end)
    elif _QUOTED.fullmatch(text, start, end):
        yield Scalar(path, start + 1, end - 1)
    else:
        yield Scalar(path, start, end)
