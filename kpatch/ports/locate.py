"""Where the build left a module, and where the stage put it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kpatch.errors import FileAccessError, UnknownModuleError, UsageError
from kpatch.units import counted


@dataclass(frozen=True)
class Folders:
    """The folders of one build: WRKDIR, BUILD_WRKSRC and STAGEDIR of the tree."""

    wrkdir: Path
    wrksrc: Path
    stagedir: Path


def built(name: str, folders: Folders) -> Path:
    """The file that the build made for ``name``.

    A name with a folder is taken from BUILD_WRKSRC. A name alone is looked for there first, then
    everywhere below WRKDIR but in the stage. Links are not followed: a module's build folder has
    links into the kernel's source. Raises UsageError for a name that leaves the folders,
    UnknownModuleError when there is no such file or more than one.
    """
    _require_inside(name)
    direct = folders.wrksrc / name
    if direct.is_file():
        return direct
    if "/" in name:
        raise _nothing(name, folders.wrksrc)
    found = [
        path for path in _named(name, folders.wrkdir) if not path.is_relative_to(folders.stagedir)
    ]
    if not found:
        raise _nothing(name, folders.wrkdir)
    if len(found) > 1:
        places = ", ".join(str(path.relative_to(folders.wrkdir)) for path in found)
        raise UnknownModuleError(
            f"the build made {counted(len(found), 'file')} named {name}: {places}",
            where=str(folders.wrkdir),
            todo=f"name one of them with its folder below {folders.wrksrc}",
        )
    return found[0]


def built_if_there(name: str, folders: Folders) -> Path | None:
    """As ``built``, but None when the build left no such file."""
    try:
        return built(name, folders)
    except NotBuiltError:
        return None


def staged(name: str, folders: Folders) -> tuple[Path, ...]:
    """Every file below STAGEDIR that the package would carry under the name of ``name``.

    Raises UsageError as ``built`` does, and UnknownModuleError when there is none: a build whose
    module is not staged protects nobody.
    """
    _require_inside(name)
    found = tuple(_named(Path(name).name, folders.stagedir))
    if not found:
        raise UnknownModuleError(
            f"no file named {Path(name).name} was staged",
            where=str(folders.stagedir),
            todo="see what the port installs, and name that file",
        )
    return found


def _require_inside(name: str) -> None:
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UsageError(
            f"not the name of a module in the work folder: {name!r}",
            todo="give a name, or a path relative to BUILD_WRKSRC",
        )


class NotBuiltError(UnknownModuleError):
    """The work folder has no file of that name."""


def _nothing(name: str, folder: Path) -> NotBuiltError:
    refused = next(_named(f"{Path(name).name}.refused", folder), None)
    if refused is not None:
        return NotBuiltError(
            f"the build made no new {name}: an earlier step refused it, and kept it as {refused}",
            where=str(folder),
            todo="make clean, and build again",
        )
    return NotBuiltError(
        f"the build made no file named {name}",
        where=str(folder),
        todo="name the module that this port builds (USES=kpatch:FILE, or KPATCH_FILES)",
    )


def _named(name: str, folder: Path) -> Iterator[Path]:
    """Regular files of that name below ``folder``, sorted, no link followed."""
    if not folder.is_dir():
        return
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        folders.sort()
        path = Path(parent) / name
        if name in files and path.is_file() and not path.is_symlink():
            yield path


def _unreadable(error: OSError) -> NoReturn:
    raise FileAccessError(
        f"cannot be searched: {error.strerror}",
        where=str(error.filename),
        todo="build as a user who may read the work folder",
    )
