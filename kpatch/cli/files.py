"""Reads and replaces files. A replaced file is the old one or the new one at any moment, whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kpatch.elf.constants import ELF_MAGIC
from kpatch.errors import FileAccessError, KpatchError, UsageError
from kpatch.patch.note import digest

LARGEST: Final = 512 << 20
"""The largest file that is read. A module has under a megabyte, a package a few."""

_COPY_SUFFIXES: Final = (".orig", ".orig.gz")
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


def expand(paths: tuple[Path, ...]) -> Iterator[Path]:
    """The files named, and in folders every file that may hold a module, in a fixed order."""
    for path in paths:
        if path.is_dir():
            with _io(path, "list the folder", "check the permissions"):
                inside = sorted(each for each in path.rglob("*") if each.is_file())
            yield from (
                each
                for each in inside
                if each.name.endswith(_MODULE_SUFFIXES) and not each.name.endswith(_COPY_SUFFIXES)
            )
        else:
            yield path


def require_replaceable(path: Path) -> Path:
    """The file that ``path`` stands for, symbolic links followed.

    Raises FileAccessError for what is not a plain file of one name: replacing one of two hard
    links would leave the other as it was, unseen.
    """
    with _io(path, "find it", "check the name and the permissions"):
        real = path.resolve(strict=True)
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


def destination(path: Path, output: Path | None, count: int) -> Path:
    """Where the result for ``path`` goes: ``output`` (or in that folder), else the file itself.

    Raises UsageError where ``output`` does not fit ``count`` files, and FileAccessError as
    :func:`require_replaceable` does.
    """
    if output is None:
        return require_replaceable(path)
    if output.is_dir():
        output = output / path.name
    elif count > 1:
        raise UsageError(
            "-o must name a folder that exists where there are several files",
            where=str(output),
            todo="make the folder first",
        )
    if output.exists() and output.samefile(path):
        raise UsageError(
            "-o names the file itself", where=str(output), todo="leave -o out to replace the file"
        )
    return output


def replace(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Put ``data`` in the place of ``path``; mode and owner come from ``like`` (or ``path``).

    Temporary file in the same folder, fsync, rename, fsync of the folder. Raises FileAccessError;
    the file is then as it was.
    """
    # Imported here: scan writes nothing.
    import tempfile

    folder = path.parent
    model = like or path
    with _io(path, "write it", "check the folder's permissions and the space on the disk"):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=folder)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                _take_after(file.fileno(), model)
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(folder)


def _take_after(handle: int, model: Path) -> None:
    try:
        status = model.stat()
    except FileNotFoundError:
        os.fchmod(handle, 0o644)
        return
    # Owner first: giving a file away clears its set-user-ID bits. Not being allowed to is fine
    # where the file would be ours anyway.
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(handle, status.st_uid, status.st_gid)
    os.fchmod(handle, stat.S_IMODE(status.st_mode))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_copy(path: Path, data: bytes) -> Path:
    """Keep the original ``data`` of ``path`` beside it; an older copy stays.

    A bare module is kept compressed, because kldxref(8) reads every file of the folder and would
    list a second kqemu module in linker.hints (FreeBSD usr.sbin/kldxref/kldxref.c). Raises
    FileAccessError.
    """
    # Imported here: scan keeps no copies.
    from kpatch.patch.gzipped import compress

    packed, suffix = (compress(data), ".orig.gz") if data.startswith(ELF_MAGIC) else (data, ".orig")
    copy = path.with_name(path.name + suffix)
    if copy.exists() and not _holds(copy, packed):
        copy = path.with_name(f"{path.name}.{digest(data)[:8]}{suffix}")
    if not _holds(copy, packed):
        replace(copy, packed, like=path)
    return copy


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read(path) == data
    except KpatchError:
        return False
