"""``+CONTENTS``, the packing list of the old pkg_install tools, and its MD5 sums.

A packing list is read line by line (pkg_create(1), "PACKING LIST DETAILS"). ``@cwd`` sets the
folder of the files named below it, ``@ignore`` hides the next line. Behind each file stands
``@comment MD5:`` and the sum, which pkg_delete and ``pkg_info -g`` compare.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from kpatch.containers.package.edit import (
    Edit,
    Mending,
    Replacement,
    like,
    listed,
    not_recorded,
    wrong_before,
)
from kpatch.containers.package.paths import plain

NAME: Final = "+CONTENTS"

_ENTRY: Final = re.compile(r"[^\n]+")
_SUM: Final = re.compile(r"@comment\s+MD5:\s*([0-9a-fA-F]{32})\s*")


def mend(text: str, change: Replacement) -> Mending:
    """Give the changed file its new sum, where it had the right old one, under each of its names.

    A sum that was wrong before is kept, and a notice says so. Raises DamagedFileError when the
    list does not name the file, or names it twice.
    """
    mending = Mending()
    for path, ends in listed(_ends_of_lines(change.paths, text), "packing list", NAME).items():
        mending += _mend_sum(text, ends[0], path, change)
    return mending


def _mend_sum(text: str, end: int, path: str, change: Replacement) -> Mending:
    """Mend the sum on the line behind ``end``."""
    line = _ENTRY.match(text, end + 1)
    recorded = _SUM.fullmatch(text, line.start(), line.end()) if line else None
    if recorded is None:
        return not_recorded(path, NAME)
    if recorded[1].lower() != _md5(change.old):
        return wrong_before("MD5", path, NAME)
    edit = Edit(recorded.start(1), recorded.end(1), like(recorded[1], _md5(change.new)))
    return Mending((edit,))


def _ends_of_lines(wanted: Sequence[str], text: str) -> dict[str, list[int]]:
    """Where the lines end that name the members ``wanted``.

    A member is stored under the name in the list, without its folder (pkg_create runs tar
    with ``-C``); some tools stored the folder too.
    """
    ends: dict[str, list[int]] = {path: [] for path in wanted}
    first = folder = ""
    is_ignored = False
    for match in _ENTRY.finditer(text):
        line = match[0].rstrip("\r")
        if line.startswith("@"):
            command, _, argument = line.partition(" ")
            if command in ("@cwd", "@cd"):
                folder = plain(argument.strip()) or first  # without an argument: the first one
                first = first or folder
            is_ignored = is_ignored or command == "@ignore"
            continue
        if not is_ignored:
            name = plain(line)
            for path in wanted:
                # Compared in parts: a long folder is not put together anew for each line.
                if path == name or (path.endswith(name) and _joins(folder, name, path)):
                    ends[path].append(match.end())
        is_ignored = False
    return ends


def _joins(folder: str, name: str, path: str) -> bool:
    """Is ``path`` the ``name`` in ``folder``? All three are plain."""
    if not folder:
        return path == name
    return len(path) == len(folder) + 1 + len(name) and path.startswith(f"{folder}/")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
