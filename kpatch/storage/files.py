"""Reads files, and says which files are meant and may be replaced."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from kpatch.errors import FileAccessError, UnknownModuleError, UsageError
from kpatch.storage.bulk import IN_MEMORY, PIECE, Bulk, TooMuchError
from kpatch.storage.reasons import naming

LARGEST: Final = 512 << 20
"""The largest file that is read. A module has under a megabyte, a package a few."""

_MOST_LINKS: Final = 40
"""Links that Linux follows in one name (path_resolution(7))."""

MODULE_SUFFIXES: Final = (".ko", ".ko.gz", ".ko.bz2", ".ko.xz", ".ko.zst")
PACKAGE_SUFFIXES: Final = (".tbz", ".tgz", ".txz", ".tzst", ".pkg", ".tar")
_SUFFIXES: Final = MODULE_SUFFIXES + PACKAGE_SUFFIXES
"""What a file in a folder must be called to count."""

KEPT: Final = r"(\.[0-9a-f]{8}([0-9a-f]{56})?)?\.orig(\.gz)?"
"""What a kept copy has behind the name of its file, as a regular expression: see
:func:`kpatch.containers.copies.keep_copy`."""
_KEPT_OF_FILE: Final = rf"(?P<file>.+({'|'.join(map(re.escape, _SUFFIXES))})){KEPT}"


_OPEN_FILES: Final = tuple(("dev", name) for name in ("fd", "stdin", "stdout", "stderr"))
"""Where each process finds its own open files (fd(4)); other files lie under /dev too, in shm."""


def kept_for(path: Path) -> str:
    """The name of the file whose original ``path`` keeps, by its own name; empty for any other."""
    # Hardly any file is one: nobody else pays for the expression.
    found = re.fullmatch(_KEPT_OF_FILE, path.name) if ".orig" in path.name else None
    return found["file"] if found else ""


def read(path: Path) -> bytes:
    """The contents of a regular file. Raises FileAccessError."""
    return read_bulk(path).whole()


def read_bulk(path: Path) -> Bulk:
    """The same, as they were when they were read, but not in memory if they are many."""
    with naming(path, "read it", "check the name and the permissions"):
        _require_plain(path, path.stat())
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            _require_plain(path, status)  # somebody may have put another there
            data = _contents(file, status.st_size)
            if data is None or _moment(os.fstat(file.fileno())) != _moment(status):
                raise FileAccessError(
                    "it changed while it was read, or only looks like a file",
                    where=str(path),
                    todo="run kpatch again, or copy it to a file on a disk first",
                )
            return data


def _require_plain(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileAccessError("it is not a file", where=str(path), todo="name a file")
    if status.st_size > LARGEST:
        raise FileAccessError(
            f"it has more than {LARGEST >> 20} MiB", where=str(path), todo="name a module"
        )


def _without_waiting(name: str, flags: int) -> int:
    """An opener: neither a pipe put there just now nor a log in /proc keeps it waiting."""
    return os.open(name, flags | os.O_NONBLOCK)


def _contents(file: BinaryIO, size: int) -> Bulk | None:
    """All of ``file``, if it has ``size`` bytes: what has more is not read to an end that may never
    come. None if not. Raises OSError.
    """
    if size <= IN_MEMORY:
        data = file.read(size + 1)
        return Bulk(data) if data is not None and len(data) == size else None
    with contextlib.suppress(TooMuchError):
        bulk = Bulk.join(iter(lambda: file.read(PIECE) or b"", b""), size)
        return bulk if bulk.size == size else None
    return None


def _moment(status: os.stat_result) -> tuple[int, int]:
    """What tells that a file was written to, if the clock of its disk is fine enough."""
    return status.st_size, status.st_mtime_ns


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
            if name.endswith(_SUFFIXES) and path.is_file():
                yield path
    yield from unlisted


def require_no_folder(path: Path) -> None:
    """Raise what is wrong with a folder that :func:`expand` left as it is.

    Raises UnknownModuleError for one with nothing in it, FileAccessError for one that cannot be
    listed.
    """
    if not is_folder(path):
        return
    with naming(path, "list the folder", "check the permissions"):
        os.scandir(path).close()
    raise UnknownModuleError(
        "this folder holds no module and no package",
        where=str(path),
        todo=f"files in a folder count by their names: {', '.join(_SUFFIXES)}",
    )


def require_replaceable(path: Path) -> Path:
    """The file that ``path`` stands for, symbolic links followed.

    Raises FileAccessError for what is not a plain file of one name: replacing one of two hard
    links would leave the other as it was, unseen. What stands for an open file, as /dev/stdin
    does, is no name to put a new file under.
    """
    _require_name(path)
    with naming(path, "find it", "check the name and the permissions"):
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


def _require_name(path: Path) -> None:
    hop = path
    for _ in range(_MOST_LINKS):
        with naming(path, "find it", "name it from / on: this folder is gone"):
            parts = hop.absolute().parts
        if parts[1:2] == ("proc",) or parts[1:3] in _OPEN_FILES:
            raise FileAccessError(
                "it stands for an open file, which cannot be replaced by that name",
                where=str(path),
                todo="name the file itself",
            )
        if not hop.is_symlink():
            return
        hop = hop.parent / hop.readlink()


def require_output(output: Path | None, paths: Sequence[Path]) -> None:
    """Raise UsageError where ``-o OUTPUT`` does not fit the files named: each goes to a place of
    its own, and to that of no other. Links in the folder count as what they lead to.
    """
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
    inputs = {os.path.realpath(path): path for path in paths}
    seen: dict[str, Path] = {}
    for path in paths:
        place = os.path.realpath(output / path.name)
        if place in inputs and os.path.realpath(path) != place:
            raise UsageError(
                f"-o would write {path} over {inputs[place]}, which is to be left alone",
                where=str(output / path.name),
                todo="remove the link that leads there, or name another folder",
            )
        other = seen.setdefault(place, path)
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
    with naming(path, "find it", "check the permissions"):
        return path.exists() and other.exists() and path.samefile(other)


def output_file(path: Path) -> Path:
    """The file that an option names for output: one that may be replaced, or none yet.

    Raises FileAccessError for devices, pipes and folders, which a rename would do away with, and
    where there is no folder to put it in.
    """
    with naming(path, "find it", "check the permissions"):
        exists = path.exists()
        real = Path(os.path.realpath(path)) if path.is_symlink() else path
        if real.is_symlink():
            raise FileAccessError(
                "it is a link that leads to no file, but round in a circle",
                where=str(path),
                todo="remove it, or name another file",
            )
        if not exists and not real.parent.is_dir():
            raise FileAccessError(
                "there is no such folder", where=str(real.parent), todo="make it first"
            )
    return require_replaceable(path) if exists else real
