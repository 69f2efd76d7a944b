"""The copy of an original that is kept beside the file that takes its place."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kpatch import storage
from kpatch.containers.compression import Compression, recognise, unpacked
from kpatch.containers.gzip import compress
from kpatch.elf.constants import ELF_MAGIC
from kpatch.errors import FileAccessError, KpatchError
from kpatch.interrupts import undisturbed
from kpatch.storage.bulk import Bulk
from kpatch.storage.files import KEPT
from kpatch.storage.writer import create

_MOST_COPIES: Final = 16
"""Kept copies that are looked at; there is one, or one a version."""


class Copy(NamedTuple):
    """A kept copy, and whether it was made now."""

    path: Path
    is_new: bool


@contextlib.contextmanager
def kept(path: Path, data: Bulk) -> Iterator[Path]:
    """Keep the original ``data`` of ``path`` while another file takes its place: where that fails
    no new copy stays, and no signal comes between. Raises FileAccessError.
    """
    with undisturbed():
        copy = keep_copy(path, data)
        try:
            yield copy.path
        except BaseException:
            _withdraw(copy, path, data)
            raise


def keep_copy(path: Path, data: Bulk) -> Copy:
    """Keep the original ``data`` of ``path`` beside it; what else has such a name stays.

    A bare module is kept compressed, because kldxref(8) reads every file of the folder and would
    list a second kqemu module in linker.hints (FreeBSD usr.sbin/kldxref/kldxref.c). Raises
    FileAccessError.
    """
    packed, suffix = data, ".orig"
    if data.part(0, len(ELF_MAGIC)) == ELF_MAGIC:
        packed, suffix = Bulk.join(compress(data)), ".orig.gz"
    known_by = data.digest()
    for infix in ("", f".{known_by[:8]}", f".{known_by}"):
        copy = path.with_name(path.name + infix + suffix)
        try:
            if not os.path.lexists(copy):
                create(copy, packed, like=path)
                return Copy(copy, is_new=True)
        except FileAccessError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            # Another program has just made it: another kpatch, perhaps, the same one.
        if _holds(copy, packed):
            return Copy(copy, is_new=False)
    raise FileAccessError(
        "cannot keep a copy: other files have the names that it could have",
        where=str(copy),
        todo="move them away, or give --no-copy",
    )


def _withdraw(copy: Copy, path: Path, data: Bulk) -> None:
    """Remove a copy that was made for nothing: ``path`` still holds ``data``."""
    if copy.is_new and _holds(path, data):
        with contextlib.suppress(OSError):
            copy.path.unlink()


def kept_files(path: Path, kind: Compression, contents: Bulk) -> list[Bulk]:
    """What the kept copies beside ``path`` hold that are ``contents``, compressed as ``kind`` says:
    each once. Where there is one, it is the file as it was.
    """
    found: list[Bulk] = []
    for copy in copies_of(path):
        try:
            kept = storage.read_bulk(copy)
            if recognise(kept) is kind and kept not in found and unpacked(kept, kind) == contents:
                found.append(kept)
        except KpatchError:
            continue
    return found


def copies_of(path: Path) -> list[Path]:
    """The copies that lie beside ``path``, whatever is in them."""
    pattern = re.compile(re.escape(path.name) + KEPT)
    try:
        copies = sorted(file for file in path.parent.iterdir() if pattern.fullmatch(file.name))
    except OSError:
        return []
    return copies[:_MOST_COPIES]


def contents_of(copy: Path) -> Bulk | None:
    """The module in a kept copy; None where it does not read."""
    try:
        data = storage.read_bulk(copy)
        kind = recognise(data)
        return unpacked(data, kind) if kind else data
    except KpatchError:
        return None


def _holds(path: Path, data: Bulk) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and storage.read_bulk(path) == data
    except (KpatchError, OSError):
        return False
