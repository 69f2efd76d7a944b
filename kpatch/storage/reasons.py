"""Why the system refused: the reason behind an errno, found by looking at the file."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kpatch.errors import FileAccessError

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_HANDLES: Final = (errno.EMFILE, errno.ENFILE)
_REFUSED: Final = (errno.EPERM, errno.EACCES)
_IMMUTABLE: Final = stat.UF_IMMUTABLE | stat.SF_IMMUTABLE | stat.UF_APPEND | stat.SF_APPEND
_GET_FLAGS: Final = 0x80086601
"""FS_IOC_GETFLAGS of Linux (include/uapi/linux/fs.h)."""
_LINUX_IMMUTABLE: Final = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL."""


@contextlib.contextmanager
def naming(path: Path, doing: str, todo: str) -> Iterator[None]:
    """Turn an OSError within into a FileAccessError about ``path``, with its reason."""
    try:
        yield
    except OSError as error:
        what, remedy = explain(path, error)
        raise FileAccessError(
            f"cannot {doing}: {what}", where=str(path), todo=remedy or todo
        ) from error


def explain(path: Path, error: OSError) -> tuple[str, str]:
    """What stands behind ``error``, and what to do; the latter empty where it says nothing new."""
    said = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return f"there is no space on the disk ({said})", "make room, and run kpatch again"
    if error.errno in _NO_HANDLES:
        return f"no more files can be open ({said})", "raise the limit (ulimit -n)"
    if error.errno == errno.EROFS:
        return f"the file system cannot be written ({said})", "mount it for writing, or use -o"
    if error.errno in _REFUSED:
        return _refusal(path, said)
    return said, ""


def _refusal(path: Path, said: str) -> tuple[str, str]:
    for place, name in ((path, "it"), (path.parent, "its folder")):
        with contextlib.suppress(OSError):  # what is not there yet has no flags
            if is_immutable(place):
                return f"{name} is immutable ({said})", f"chflags noschg or chattr -i {place}"
    with contextlib.suppress(OSError):
        own, folder, me = path.stat(), path.parent.stat(), os.geteuid()
        if folder.st_mode & stat.S_ISVTX and me not in (0, own.st_uid, folder.st_uid):
            return (
                f"it belongs to user {own.st_uid}, and its folder is sticky ({said})",
                "run kpatch as that user or as root, or write elsewhere with -o",
            )
        if os.access(path.parent, os.W_OK | os.X_OK) and me not in (0, own.st_uid):
            return (
                f"it belongs to user {own.st_uid}, and would not do so any more ({said})",
                "run kpatch as that user or as root, or write elsewhere with -o",
            )
    return said, ""


def is_immutable(path: Path) -> bool:
    """True for what chflags(1) or chattr(1) made immutable or append-only."""
    flags = getattr(path.stat(), "st_flags", None)
    if flags is not None:
        return bool(flags & _IMMUTABLE)
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        answer = fcntl.ioctl(handle, _GET_FLAGS, bytes(8))
    except OSError:
        return False  # no such flags on this file system
    finally:
        os.close(handle)
    return bool(int.from_bytes(answer[:4], "little") & _LINUX_IMMUTABLE)
