"""Which members of a package are kernel modules, and under which names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from kpatch.containers.package import paths, tar
from kpatch.containers.package.tar import Member, TarArchive, shown
from kpatch.elf.constants import ELF_MAGIC
from kpatch.errors import DamagedFileError

DISTRUST: Final = "no packaging tool writes this; do not install the package"


class ModuleFile(NamedTuple):
    """A file that is a kernel module under one of its names, which comes first, or several."""

    member: Member
    names: tuple[str, ...]


def names_of_files(by_path: Mapping[str, Member]) -> dict[str, list[str]]:
    """The names of each regular file, by its path: its own, then the hard links to it.

    pkg and bsdtar write a file of several names once, and a link to it for each other name.
    """
    names: dict[str, list[str]] = {}
    file_of: dict[str, str | None] = {}  # None for what is no file
    for path, member in by_path.items():
        file_of[path] = path if member.is_regular else None
        if member.is_regular:
            names[path] = [member.name]
        elif member.type == tar.HARD_LINK:
            link = paths.plain(member.link)
            if link not in file_of or link == path:
                raise DamagedFileError(
                    f"is a hard link to {shown(member.link)}, which is no member before it",
                    where=shown(member.name),
                    todo=DISTRUST,
                )
            file_of[path] = file = file_of[link]
            if file is not None:
                names[file].append(member.name)
    return names


def modules_of(
    archive: TarArchive, names: Mapping[str, Sequence[str]], by_path: Mapping[str, Member]
) -> tuple[ModuleFile, ...]:
    """The files that lie where modules are kept, under one of their names.

    What kldxref lists is one whatever it is called: ``kldload kqemu`` takes the first file listed
    as that module (linker_hints_lookup in FreeBSD's sys/kern/kern_linker.c). A symbolic link to
    one of them is one more way to the same file. Raises DamagedFileError for another link, or a
    device, in such a place: the kernel would load what stays unpatched.
    """
    # Of a large package's members hardly any lies there, and a path for each takes memory.
    files = {
        paths.plain(name)
        for all_names in names.values()
        for name in all_names
        if paths.is_module(name)
    }
    for path, member in by_path.items():
        if paths.is_module(path) and not member.is_directory and path not in files:
            _require_link_to_module(path, member, files)
    found: list[ModuleFile] = []
    for path, all_names in names.items():
        first = next(filter(paths.is_module, all_names), None)
        listed = None if first else next(filter(paths.is_listed, all_names), None)
        if listed and _is_elf(archive, by_path[path]):  # few lie there: hardly any file is read
            first = listed
        if first is not None:
            others = tuple(name for name in all_names if name != first)
            found.append(ModuleFile(by_path[path], (first, *others)))
    return tuple(found)


def _require_link_to_module(path: str, member: Member, files: Iterable[str]) -> None:
    if member.type != tar.SYMBOLIC_LINK:
        raise DamagedFileError(
            "is a link or a device, not a file", where=shown(member.name), todo=DISTRUST
        )
    target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), member.link))
    if not (paths.is_module(target) and paths.plain(target) in files):
        raise DamagedFileError(
            f"is a symbolic link to {shown(member.link)}, and the package has no module there",
            where=shown(member.name),
            todo="extract the file that it leads to, and patch it by itself",
        )


def _is_elf(archive: TarArchive, member: Member) -> bool:
    return archive.raw.part(member.data, member.data + len(ELF_MAGIC)) == ELF_MAGIC
