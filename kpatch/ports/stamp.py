"""Files of the hook carry a digest of themselves, so that a stranger's change is never lost.

The last line of a written file is a comment with the SHA-256 of all lines above it. A file whose
digest holds was written by kpatch (of any version) and not edited since: it may be replaced and
removed. Any other file belongs to somebody.
"""

from __future__ import annotations

import re
from pathlib import Path

from kpatch.digest import digest

_LAST_LINE = "# Written by kpatch hook; SHA-256 of the lines above: "
_STAMPED = re.compile(
    rb"(?P<body>.*\n)" + re.escape(_LAST_LINE.encode()) + rb"(?P<hex>[0-9a-f]{64})\n", re.DOTALL
)

_CALL = re.compile(rb"^[^#\n]*\bkpatch_step\s", re.MULTILINE)

# The hook's own files have a few kB.
_LARGEST = 64 << 10


def stamped(text: str) -> bytes:
    """The bytes to write for ``text`` (which ends with a newline)."""
    body = text.encode()
    return body + f"{_LAST_LINE}{digest(body)}\n".encode()


def holds(data: bytes) -> bool:
    """Whether these bytes are a file as kpatch wrote it."""
    found = _STAMPED.fullmatch(data)
    if found is None:
        return False
    return digest(found["body"]) == found["hex"].decode()


def is_ours(path: Path) -> bool:
    """Whether the file there is as kpatch wrote it. A link, or a file we cannot read, is not."""
    return holds(_contents(path))


def calls_us(path: Path) -> bool:
    """Whether somebody's own script has a line that runs a step of the hook."""
    data = _contents(path)
    return not holds(data) and _CALL.search(data) is not None


def _contents(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return b""
