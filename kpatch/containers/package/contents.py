"""``+CONTENTS``, the packing list of the old pkg_install tools, and its MD5 sums.

A packing list is read line by line (pkg_create(1), "PACKING LIST DETAILS"). ``@cwd`` sets the
folder of the files named below it, ``@ignore`` hides the next line. Behind each file stands
``@comment MD5:`` and the sum, which pkg_delete and ``pkg_info -g`` compare.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from kpatch.containers.package.edit import (
    Edit,
    Mending,
    Replacement,
    like,
    not_recorded,
    wrong_before,
)
from kpatch.containers.package.paths import plain
from kpatch.errors import DamagedFileError

NAME: Final = "+CONTENTS"

_LINE: Final = re.compile(r"[^\n]+")
_SUM: Final = re.compile(r"@comment\s+MD5:\s*([0-9a-fA-F]{32})\s*")


def mend(text: str, change: Replacement) -> Mending:
    """Give the changed file its new sum, where it had the right old one.

    A sum that was wrong before is kept, and a notice says so. Raises DamagedFileError when the
    list does not name the file, or names it twice.
    """
    ends = _ends_of_lines(change.path, text)
    if len(ends) != 1:
        raise DamagedFileError(
            f"the packing list names {change.path} {len(ends)} times, not once",
            where=NAME,
            todo="build the package again",
        )
    line = _LINE.match(text, ends[0] + 1)
    recorded = _SUM.fullmatch(text, line.start(), line.end()) if line else None
    if recorded is None:
        return not_recorded(change.path, NAME)
    if recorded[1].lower() != _md5(change.old):
        return wrong_before("MD5", change.path, NAME)
    edit = Edit(recorded.start(1), recorded.end(1), like(recorded[1], _md5(change.new)))
    return Mending((edit,))


def _ends_of_lines(path: str, text: str) -> list[int]:
    """Where the lines end that name the member ``path``.

    A member is stored under the name in the list, without its folder (pkg_create runs tar
    with ``-C``); some tools stored the folder too.
    """
    ends: list[int] = []
    first = folder = ""
    is_ignored = False
    for match in _LINE.finditer(text):
        line = match[0].rstrip("\r")
        if line.startswith("@"):
            command, _, argument = line.partition(" ")
            if command in ("@cwd", "@cd"):
                folder = argument.strip() or first  # without an argument: the first one
                first = first or folder
            is_ignored = is_ignored or command == "@ignore"
            continue
        if not is_ignored and path in (plain(line), plain(f"{folder}/{line}")):
            ends.append(match.end())
        is_ignored = False
    return ends


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
