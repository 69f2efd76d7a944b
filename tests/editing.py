"""The editor's pieces put together, for who wants a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from kpatch.elf.editor import appended
from kpatch.elf.edits import Pieces

_Asked = ParamSpec("_Asked")


def _joined(make: Callable[_Asked, Pieces]) -> Callable[_Asked, bytes]:
    return lambda *args, **kwargs: b"".join(make(*args, **kwargs))


append = _joined(appended)
"""The module's file with edits done to it, as :func:`kpatch.elf.editor.appended` does them."""
