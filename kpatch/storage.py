"""Reads and replaces files. A replaced file is the old one or the new one at any moment, whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kpatch.errors import FileAccessError, UnknownModuleError, UsageError

LARGEST: Final = 512 << 20
"""The largest file that is read. A module has under a megabyte, a package a few."""

_MODULE_SUFFIXES: Final = (".ko", ".ko.gz", ".tbz", ".tgz", ".txz", ".tzst", ".pkg")


@contextlib.contextmanager
def _io(path: Path, doing: str, todo: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileAccessError(
            f"cannot {doing}: {error.strerror or error}", where=str(path), todo=todo
        ) from error


def read(path: Path) -> bytes:
    """The contents of a regular file. Raises FileAccessError."""
    with _io(path, "read it", "check the name and the permissions"):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileAccessError("it is not a file", where=str(path), todo="name a file")
        if status.st_size > LARGEST:
            raise FileAccessError(
                f"it has more than {LARGEST >> 20} MiB", where=str(path), todo="name a module"
            )
        return path.read_bytes()


def expand(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and in folders every file that may hold a module, in a fixed order.

    A folder that holds none, or cannot be listed, stands for itself: :func:`require_no_folder`
    then says why. So it keeps no other file from its turn.
    """
    for path in paths:
        if is_folder(path):
            yield from sorted(_inside(path)) or [path]
        else:
            yield path


def is_folder(path: Path) -> bool:
    """True for a folder, and for a link to one. What cannot be looked at is none."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _inside(folder: Path) -> Iterator[Path]:
    unlisted: list[Path] = []
    for place, _, names in os.walk(
        folder, onerror=lambda error: unlisted.append(Path(error.filename))
    ):
        for name in names:
            path = Path(place, name)
            if name.endswith(_MODULE_SUFFIXES) and path.is_file():
                yield path
    yield from unlisted


def require_no_folder(path: Path) -> None:
    """Raise what is wrong with a folder that :func:`expand` left as it is.

    Raises UnknownModuleError for one with nothing in it, FileAccessError for one that cannot be
    listed.
    """
    if not is_folder(path):
        return
    with _io(path, "list the folder", "check the permissions"):
        os.scandir(path).close()
    raise UnknownModuleError(
        "this folder holds no module and no package",
        where=str(path),
        todo=f"files in a folder count by their names: {', '.join(_MODULE_SUFFIXES)}",
    )


def require_replaceable(path: Path) -> Path:
    """The file that ``path`` stands for, symbolic links followed.

    Raises FileAccessError for what is not a plain file of one name: replacing one of two hard
    links would leave the other as it was, unseen.
    """
    with _io(path, "find it", "check the name and the permissions"):
        real = path.resolve(strict=True) if path.is_symlink() else path
        status = real.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileAccessError("it is not a file", where=str(path), todo="name a file")
    if status.st_nlink > 1:
        raise FileAccessError(
            f"it has {status.st_nlink} hard links, and replacing it would change only one",
            where=str(path),
            todo="copy it to a file of its own, or write elsewhere with -o",
        )
    return real


def require_output(output: Path | None, paths: Sequence[Path]) -> None:
    """Raise UsageError where ``-o OUTPUT`` does not fit the files named."""
    if output is None:
        return
    if not is_folder(output):
        if len(paths) > 1:
            raise UsageError(
                "-o must name a folder that exists where there are several files",
                where=str(output),
                todo="make the folder first",
            )
        return
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.name, path)
        if other is not path:
            raise UsageError(
                f"-o would write both {other} and {path} to {output / path.name}",
                where=str(output),
                todo="give each its own folder",
            )


def destination(path: Path, output: Path | None) -> Path:
    """Where the result for ``path`` goes: ``output`` (or in that folder), else the file itself.

    Raises UsageError where ``output`` is the file itself, and FileAccessError as
    :func:`require_replaceable` does.
    """
    if output is None:
        return require_replaceable(path)
    place = output_file(output / path.name if is_folder(output) else output)
    if is_same(place, path):
        raise UsageError(
            "-o names the file itself", where=str(place), todo="leave -o out to replace the file"
        )
    return place


def is_same(path: Path, other: Path) -> bool:
    """True if both exist and are one file. Raises FileAccessError."""
    with _io(path, "find it", "check the permissions"):
        return path.exists() and other.exists() and path.samefile(other)


def output_file(path: Path) -> Path:
    """The file that an option names for output: one that may be replaced, or none yet.

    Raises FileAccessError for devices, pipes and folders, which a rename would do away with, and
    where there is no folder to put it in.
    """
    with _io(path, "find it", "check the permissions"):
        exists = path.exists()
        if not exists and not path.is_symlink() and not path.parent.is_dir():
            raise FileAccessError(
                "there is no such folder", where=str(path.parent), todo="make it first"
            )
        real = path.resolve() if path.is_symlink() else path
    return require_replaceable(path) if exists else real


def replace(
    path: Path, data: bytes, *, like: Path | None = None, expected: bytes | None = None
) -> None:
    """Put ``data`` in the place of ``path``, whose mode and owner stay.

    With ``like`` they come from there instead, the owner where that is permitted. ``expected`` is
    what ``path`` held when it was read: what somebody wrote to it since is not overwritten.
    Temporary file in the same folder, fsync, rename, fsync of the folder. Raises FileAccessError;
    the file is then as it was.
    """
    # The name is chosen before the file is made, so that no interrupt leaves one behind.
    temporary = path.with_name(f".kpatch-{os.urandom(8).hex()}.new")
    with (
        _io(path, "write it", "check the folder's permissions and the space on the disk"),
        _opened(path.parent) as folder,
    ):
        try:
            with open(temporary, "xb", opener=_private) as file:
                file.write(data)
                file.flush()
                _take_after(file.fileno(), like or path, must_own=like is None)
                os.fsync(file.fileno())
            if expected is not None and read(path) != expected:
                raise FileAccessError(
                    "somebody else changed it in the meantime",
                    where=str(path),
                    todo="run kpatch again",
                )
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        os.fsync(folder)


def _private(name: str, flags: int) -> int:
    """An opener: nobody else reads the file before it has the mode of the one it replaces."""
    return os.open(name, flags, 0o600)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _take_after(handle: int, model: Path, *, must_own: bool) -> None:
    try:
        status = model.stat()
    except FileNotFoundError:
        os.fchmod(handle, 0o644)
        return
    # Owner first: giving a file away clears its set-user-ID bits.
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        with contextlib.nullcontext() if must_own else contextlib.suppress(PermissionError):
            os.fchown(handle, status.st_uid, status.st_gid)
    os.fchmod(handle, stat.S_IMODE(status.st_mode) & (0o7777 if must_own else 0o777))
