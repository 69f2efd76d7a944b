"""The copy of an original that is kept beside the file that takes its place."""

from __future__ import annotations

import os
from pathlib import Path

from kpatch import storage
from kpatch.containers.gzip import compress
from kpatch.digest import digest
from kpatch.elf.constants import ELF_MAGIC
from kpatch.errors import KpatchError


def keep_copy(path: Path, data: bytes) -> Path:
    """Keep the original ``data`` of ``path`` beside it; an older copy stays.

    A bare module is kept compressed, because kldxref(8) reads every file of the folder and would
    list a second kqemu module in linker.hints (FreeBSD usr.sbin/kldxref/kldxref.c). Raises
    FileAccessError.
    """
    packed, suffix = (compress(data), ".orig.gz") if data.startswith(ELF_MAGIC) else (data, ".orig")
    copy = path.with_name(path.name + suffix)
    if os.path.lexists(copy) and not _holds(copy, packed):
        copy = path.with_name(f"{path.name}.{digest(data)[:8]}{suffix}")
    if not _holds(copy, packed):
        storage.replace(copy, packed, like=path)
    return copy


def _holds(path: Path, data: bytes) -> bool:
    try:
        return storage.read(path) == data
    except KpatchError:
        return False
