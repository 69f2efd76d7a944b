"""The one writer. A replaced file is the old one or the new one at any moment, whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kpatch.errors import FileAccessError
from kpatch.storage.attributes import take_after
from kpatch.storage.bulk import Bulk
from kpatch.storage.files import read_bulk
from kpatch.storage.reasons import explain, naming

_TEMPORARY: Final = re.compile(r"\.kpatch-[0-9a-f]{16}\.new")
_OLD: Final = 24 * 3600
"""Seconds after which a temporary file of ours has nobody any more who would rename it."""

_AT_FDCWD: Final = -100
_EXCHANGE: Final = 2
"""RENAME_EXCHANGE of renameat2(2)."""
_NO_EXCHANGE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def replace(
    path: Path,
    data: Bulk | bytes,
    *,
    like: Path | None = None,
    expected: Bulk | bytes | None = None,
) -> tuple[str, ...]:
    """Put ``data`` in the place of ``path``, whose mode, owner and attributes stay.

    With ``like`` they come from there instead, the owner where that is permitted. ``expected`` is
    what ``path`` held when it was read: what somebody wrote to it since is not overwritten.
    Temporary file in the same folder, fsync, rename, fsync of the folder. Returns the names of the
    attributes that the new file could not be given. Raises FileAccessError; the file is then as it
    was, unless the error says that it is replaced.
    """
    # The name is chosen before the file is made, so that no interrupt leaves one behind.
    temporary = path.with_name(f".kpatch-{os.urandom(8).hex()}.new")
    todo = "check the folder's permissions and the space on the disk"
    with naming(path, "write it", todo), _opened(path.parent) as folder:
        _remove_old_ones(path.parent)
        try:
            with open(temporary, "xb", opener=_private) as file:
                for piece in Bulk.of(data).pieces():
                    file.write(piece)
                file.flush()
                lost = take_after(file.fileno(), like or path, must_own=like is None)
                os.fsync(file.fileno())
            if expected is None:
                temporary.replace(path)
            else:
                _replace_expected(temporary, path, Bulk.of(expected))
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _make_lasting(folder, path)
    return lost


def _replace_expected(temporary: Path, path: Path, expected: Bulk) -> None:
    """Rename ``temporary`` over ``path`` if that holds ``expected``.

    Where the system can exchange two names at once, what was replaced is looked at afterwards: so
    nothing that another program renames to ``path`` at the last moment is lost.
    """
    _require(path, path, expected)
    if not _exchange(temporary, path):
        temporary.replace(path)
        return
    try:
        _require(temporary, path, expected)
    except BaseException:
        _exchange(temporary, path)
        raise
    try:
        temporary.unlink()
    except OSError as error:
        raise FileAccessError(
            f"it is replaced, but the old file could not be removed: {explain(path, error)[0]}",
            where=str(path),
            todo=f"remove {temporary.name} in its folder",
        ) from error


def _require(place: Path, path: Path, expected: Bulk) -> None:
    if read_bulk(place) != expected:
        raise FileAccessError(
            "somebody else changed it in the meantime", where=str(path), todo="run kpatch again"
        )


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names. False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False  # a refusal that is meant comes again from rename(2)
    raise OSError(code, os.strerror(code), str(other))


def _make_lasting(folder: int, path: Path) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        raise FileAccessError(
            f"it is replaced, but its folder could not be written out: {explain(path, error)[0]}",
            where=str(path),
            todo="it may be the old file again after a power cut: run sync(8), look at the disk",
        ) from error


def _remove_old_ones(folder: Path) -> None:
    """Remove what an earlier run, killed, left in ``folder``."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) is None:
                continue
            status = entry.stat(follow_symlinks=False)
            is_ours = status.st_uid == os.geteuid() and entry.is_file(follow_symlinks=False)
            if is_ours and time.time() - status.st_ctime > _OLD:
                Path(entry.path).unlink()


def _private(name: str, flags: int) -> int:
    """An opener: nobody else reads the file before it has the mode of the one it replaces."""
    return os.open(name, flags, 0o600)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(handle)
