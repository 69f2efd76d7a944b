"""Why the system refused: the reason behind an errno, found by looking at the file."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kpatch.errors import FileAccessError

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_HANDLES: Final = (errno.EMFILE, errno.ENFILE)
_REFUSED: Final = (errno.EPERM, errno.EACCES)
_MOST_NAMES: Final = 1000
"""Of a folder, that are looked at for one that was meant."""

_GET_FLAGS: Final = 0x80086601
"""FS_IOC_GETFLAGS of Linux (include/uapi/linux/fs.h)."""


class _Lock(NamedTuple):
    """A flag that keeps everybody from replacing a file: of chflags(1), of chattr(1)."""

    name: str
    bsd: int
    linux: int
    remedy: str


_LOCKS: Final = (
    _Lock(
        "immutable",
        stat.UF_IMMUTABLE | stat.SF_IMMUTABLE,
        0x10,  # FS_IMMUTABLE_FL
        "chflags noschg or chattr -i",
    ),
    _Lock(
        "append-only",
        stat.UF_APPEND | stat.SF_APPEND,
        0x20,  # FS_APPEND_FL
        "chflags nosappnd or chattr -a",
    ),
)
_AS_THAT_USER: Final = "run kpatch as that user or as root, or write elsewhere with -o"


@contextlib.contextmanager
def naming(path: Path, doing: str, todo: str) -> Iterator[None]:
    """Turn an OSError within into a FileAccessError about ``path``, with its reason."""
    try:
        yield
    except OSError as error:
        what, remedy = explain(path, error, writing=doing.startswith("write"))
        raise FileAccessError(
            f"cannot {doing}: {what}", where=str(path), todo=remedy or todo
        ) from error


def explain(path: Path, error: OSError, *, writing: bool = True) -> tuple[str, str]:
    """What stands behind ``error``, and what to do; the latter empty where it says nothing new."""
    said = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return f"there is no space on the disk ({said})", "make room, and run kpatch again"
    if error.errno in _NO_HANDLES:
        return f"no more files can be open ({said})", "raise the limit (ulimit -n)"
    if error.errno == errno.ENAMETOOLONG and writing:
        return f"the name is too long ({said})", "use a shorter one; --no-copy keeps no copy"
    if error.errno == errno.EFBIG:
        return f"no file may be so large ({said})", "raise the limit (ulimit -f)"
    if error.errno == errno.EROFS:
        return f"the file system cannot be written ({said})", "mount it for writing, or use -o"
    if error.errno == errno.EBUSY and writing:
        return f"something is mounted there ({said})", "unmount it, or write elsewhere with -o"
    if error.errno in _REFUSED and writing:
        return _refusal(path, said)
    if error.errno == errno.ENOENT and not writing:
        return _missing(path, said)
    return said, ""


def _missing(path: Path, said: str) -> tuple[str, str]:
    """What is missing, and the nearest names of the folder where only the last part is."""
    if path.is_symlink():
        return f"it is a link to what is not there ({said})", "name another file"
    if not path.parent.exists():
        return f"there is no folder {path.parent} ({said})", "check the name"
    # Imported here: only a mistake needs it.
    from difflib import get_close_matches

    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        names = sorted(entry.name for entry in itertools.islice(entries, _MOST_NAMES))
    near = [str(path.with_name(name)) for name in get_close_matches(path.name, names, 3)]
    return said, f"did you mean {' or '.join(near)}?" if near else "check the name"


def _refusal(path: Path, said: str) -> tuple[str, str]:
    for place, name in ((path, "it"), (path.parent, "its folder")):
        with contextlib.suppress(OSError):  # what is not there yet has no flags
            lock = lock_of(place)
            if lock is not None:
                return f"{name} is {lock.name} ({said})", f"{lock.remedy} {place}"
    if sticky := _sticky(path):
        return f"{sticky} ({said})", _AS_THAT_USER
    return said, ""


def _sticky(path: Path) -> str:
    """That only the owner may rename over ``path``, where that is so and we are not; else empty."""
    with contextlib.suppress(OSError):
        own, folder = path.stat(), path.parent.stat()
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, own.st_uid, folder.st_uid):
            return f"it belongs to user {own.st_uid}, and its folder is sticky"
    return ""


def not_given_away(
    path: Path, wanted: os.stat_result, own: os.stat_result, error: OSError
) -> FileAccessError:
    """What to say where a new file in the place of ``path`` cannot get the owner of the old one."""
    is_user = wanted.st_uid != own.st_uid
    owner = f"user {wanted.st_uid}" if is_user else f"group {wanted.st_gid}"
    what = _sticky(path) or f"it belongs to {owner}, and would not do so any more"
    return FileAccessError(
        f"cannot write it: {what} ({error.strerror or error})",
        where=str(path),
        todo=_AS_THAT_USER,
    )


def lock_of(path: Path) -> _Lock | None:
    """Which flag of chflags(1) or chattr(1) keeps a file as it is; None for none."""
    flags = getattr(path.stat(), "st_flags", None)
    if flags is not None:
        return next((lock for lock in _LOCKS if flags & lock.bsd), None)
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        answer = fcntl.ioctl(handle, _GET_FLAGS, bytes(8))
    except OSError:
        return None  # no such flags on this file system
    finally:
        os.close(handle)
    linux = int.from_bytes(answer[:4], "little")
    return next((lock for lock in _LOCKS if linux & lock.linux), None)
