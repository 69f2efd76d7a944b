"""The one writer. A replaced file is the old one or the new one at any moment, whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kpatch.errors import FileAccessError
from kpatch.interrupts import undisturbed
from kpatch.storage.attributes import take_after
from kpatch.storage.bulk import Bulk
from kpatch.storage.files import read_bulk
from kpatch.storage.reasons import explain, naming

_TEMPORARY: Final = re.compile(r"\.kpatch-[0-9a-f]{16}\.symbols")
"""What a run that was killed leaves would be a second module in a folder of modules: these are the
names that kldxref(8) passes over there (FreeBSD usr.sbin/kldxref/kldxref.c)."""
_OLD: Final = 24 * 3600
"""Seconds after which a temporary file of ours has nobody any more who would rename it."""

_AT_FDCWD: Final = -100
_NO_REPLACE, _EXCHANGE = 1, 2
"""RENAME_NOREPLACE and RENAME_EXCHANGE of renameat2(2)."""
_NO_FLAGS: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
_NO_FOLDER_SYNC: Final = (errno.EINVAL, errno.ENOTSUP)
"""What fsync(2) says of a folder where the file system has no such thing."""

PutInPlace = Callable[[Path], object]
"""Puts a finished temporary file in its place."""


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
    if expected is None:
        return _put(path, data, lambda temporary: temporary.replace(path), like)
    wanted = Bulk.of(expected)
    return _put(path, data, lambda temporary: _replace_expected(temporary, path, wanted), like)


def create(path: Path, data: Bulk | bytes, *, like: Path) -> tuple[str, ...]:
    """The same for a file that is not there. Raises FileAccessError for one that is, its cause then
    a FileExistsError.
    """
    return _put(path, data, lambda temporary: _rename_to_new(temporary, path), like)


def _put(path: Path, data: Bulk | bytes, place: PutInPlace, like: Path | None) -> tuple[str, ...]:
    temporary = path.with_name(f".kpatch-{os.urandom(8).hex()}.symbols")
    todo = "check the folder's permissions and the space on the disk"
    # No signal that can wait leaves the temporary file behind, or somebody else's under its name.
    with undisturbed(), naming(path, "write it", todo):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        made: os.stat_result | None = None
        try:
            _remove_old_ones(path.parent)
            opener = _private if (like or path).exists() else None
            with open(temporary, "xb", opener=opener) as file:
                made = os.fstat(file.fileno())
                for piece in Bulk.of(data).pieces():
                    file.write(piece)
                file.flush()
                lost = take_after(file.fileno(), like or path, must_own=like is None)
                os.fsync(file.fileno())
            place(temporary)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(folder)
            _discard(temporary, made)
            raise
        _make_lasting(folder, path)
        _require_gone(temporary, path)
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
    with contextlib.suppress(OSError):  # _require_gone tries once more
        temporary.unlink()


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` to ``path``. Raises FileExistsError where that is there; OSError."""
    if _renamed(temporary, path, _NO_REPLACE):
        return
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)
    else:
        temporary.unlink()


def _require(place: Path, path: Path, expected: Bulk) -> None:
    if read_bulk(place) != expected:
        raise FileAccessError(
            "somebody else changed it in the meantime", where=str(path), todo="run kpatch again"
        )


def _discard(temporary: Path, made: os.stat_result | None) -> None:
    """Remove the temporary file, if it still is the one that we ``made``.

    Where two other programs were at it between two renames of ours, theirs may lie under this name.
    Raises FileAccessError, which says where it is kept.
    """
    with contextlib.suppress(OSError):
        if made is None or os.path.samestat(made, temporary.lstat()):
            temporary.unlink(missing_ok=True)
            return
        kept = temporary.with_suffix(".kept.symbols")  # no later run takes that for a file of ours
        temporary.rename(kept)
        raise FileAccessError(
            "other programs changed it meanwhile, more than once",
            where=str(temporary.parent),
            todo=f"look at {kept.name}: what one of them wrote is kept there",
        )


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names. False where the system or the file system cannot."""
    return _renamed(one, other, _EXCHANGE)


def _renamed(one: Path, other: Path, flag: int) -> bool:
    """renameat2(2). False where the system or the file system does not know ``flag``."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False  # a refusal that is meant comes again from rename(2)
    raise OSError(code, os.strerror(code), str(other))


def _make_lasting(folder: int, path: Path) -> None:
    try:
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(folder)
    except OSError as error:
        raise FileAccessError(
            f"it is replaced, but its folder could not be written out: {explain(path, error)[0]}",
            where=str(path),
            todo="it may be the old file again after a power cut: run sync(8), look at the disk",
        ) from error


def _require_gone(temporary: Path, path: Path) -> None:
    """After an exchange the old file has the temporary name. Raises FileAccessError if it stays."""
    if not os.path.lexists(temporary):
        return
    try:
        temporary.unlink()
    except OSError as error:
        raise FileAccessError(
            f"it is replaced, but the old file could not be removed: {explain(path, error)[0]}",
            where=str(path),
            todo=f"remove {temporary.name} in its folder",
        ) from error


def _remove_old_ones(folder: Path) -> None:
    """Remove what an earlier run, killed, left in ``folder``."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) is None or not entry.is_file(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=False)
            # A run of root gives its temporary file away before the rename.
            is_ours = os.geteuid() in (0, status.st_uid)
            if is_ours and time.time() - status.st_ctime > _OLD:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _private(name: str, flags: int) -> int:
    """An opener: nobody else reads the file before it has the mode of the one it replaces."""
    return os.open(name, flags, 0o600)
