"""A package, opened and checked, and the same package with another module in it."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kpatch.containers import foreign
from kpatch.containers.compression import Compression, recognise, unpacked
from kpatch.containers.package import contents, manifest, paths, tar
from kpatch.containers.package.edit import Mending, Replacement, apply_edits
from kpatch.containers.package.members import DISTRUST, ModuleFile, modules_of, names_of_files
from kpatch.containers.package.tar import Member, TarArchive, shown
from kpatch.errors import DamagedFileError, OtherModuleError, UnknownModuleError
from kpatch.storage.bulk import Bulk
from kpatch.units import counted

METADATA: Final = (contents.NAME, manifest.COMPACT_NAME, manifest.NAME)
MAX_METADATA: Final = 1 << 20
"""Size of a packing list or manifest that is mended; one of kqemu has about 3 kB."""
_TOLD: Final = 8
"""Hard links that are told one by one."""


@dataclass(frozen=True)
class Package:
    """A package whose names and kinds of members hold no surprise."""

    data: Bulk
    compression: Compression
    archive: TarArchive
    metadata: Mapping[str, Member]
    modules: tuple[ModuleFile, ...]

    @property
    def is_signed(self) -> bool:
        """Does the package itself carry a signature?

        Only the pkg_sign tool of old FreeBSD (in the extra field of the gzip header) and
        tools that add members of their own do that; pkg signs the repository's catalogue.
        """
        has_extra = self.compression is Compression.GZIP and bool(self.data.part(3, 4)[0] & 0x04)
        return has_extra or any(_is_signature(m.name) for m in self.archive.members)


@dataclass(frozen=True)
class PackagedModule:
    """A kernel module in a package: the name of the member, and the file, read when asked for."""

    name: str
    package: Package
    member: Member

    @property
    def data(self) -> bytes:
        """The file. Raises DamagedFileError for one that is too large."""
        return self.package.archive.contents(self.member)


def open_package(data: Bulk) -> Package:
    """Unpack and check a package.

    Raises DamagedFileError when it is damaged or when unpacking it could write where it does
    not say: members that climb out, stand there twice or lie behind a link, hard links to what
    is not in the package, or a module or metadata file that is a link.
    Raises UnknownModuleError when it is no archive, or no package of FreeBSD.
    """
    compression = recognise(data)
    if compression is None:
        raise _not_a_package(data, "")
    raw = unpacked(data, compression)
    inner = recognise(raw)
    # What is known as a tar archive is one: it begins with a member's name, which may be anything.
    if inner is not Compression.NONE and (inner is not None or foreign.told(raw) is not None):
        raise _not_a_package(raw, f"{compression.value} data")
    with _advising("get the package again"):
        archive = tar.read(raw)
    by_path = _by_path(archive)
    metadata = _metadata(by_path)
    _check_are_reached_through_folders(by_path)
    names = names_of_files(by_path)
    _check_metadata(metadata, names)
    modules = modules_of(archive, names, by_path)
    _check_no_other_is_compressed(modules, archive)
    return Package(data, compression, archive, metadata, modules)


def _check_no_other_is_compressed(modules: Sequence[ModuleFile], archive: TarArchive) -> None:
    """Beside a module there may be none that is compressed by itself.

    loader(8) looks into one folder after the other, and in each for both (FreeBSD's
    sys/boot/common/module.c, and gzipfs.c in lib/libstand): so it may take either.
    """
    member = _compressed_module(archive) if modules else None
    if member is not None:
        raise UnknownModuleError(
            f"holds {shown(modules[0].names[0])}, and one that is compressed by itself: "
            "nobody can tell which is loaded",
            where=shown(member.name),
            todo="extract the modules and patch each by itself",
        )


def _compressed_module(archive: TarArchive) -> Member | None:
    """The first kernel module that is compressed by itself, if there is one."""
    compressed = (each for each in archive.members if paths.is_compressed_module(each.name))
    return next(compressed, None)


def _not_a_package(data: Bulk, around: str) -> UnknownModuleError:
    """The refusal of what is no archive of tar, with what it is, where that is known."""
    found, again = foreign.told(data), recognise(data)
    if found is None and again is not None:
        found = foreign.Foreign(f"{again.value} data", "unpack it once", is_container=True)
    if found is None:
        return UnknownModuleError(
            "not a package archive", todo="give a tar archive, or one in bzip2, xz, zstd or gzip"
        )
    if around:
        found = found._replace(what=f"{around} with {found.what} in it", is_container=True)
    return UnknownModuleError(found.sentence, todo=found.todo)


def sole_module(package: Package) -> ModuleFile:
    """The one module of the package.

    Raises UnknownModuleError when it has none or several: of two modules one would be loaded,
    and nobody can tell which.
    """
    if len(package.modules) == 1:
        return package.modules[0]
    if package.modules:
        names = ", ".join(shown(module.names[0]) for module in package.modules[:4])
        raise UnknownModuleError(
            f"holds {len(package.modules)} kernel modules ({names}), not one",
            todo="extract the module and patch it by itself",
        )
    raise without_module(package)


def without_module(package: Package) -> OtherModuleError:
    """The refusal of a package that has no kernel module, or only one that is compressed."""
    member = _compressed_module(package.archive)
    if member is not None:
        return OtherModuleError(
            "the kernel module is compressed by itself",
            where=shown(member.name),
            todo="extract and unpack it, and patch it by itself",
        )
    return OtherModuleError(
        "no kernel module in this package", todo="give it a package of kqemu-kmod"
    )


@dataclass(frozen=True)
class Rewritten:
    """A tar archive with another module in it, and what else was done to it."""

    raw: Bulk
    changed: tuple[str, ...]
    notices: tuple[str, ...]


def rewrite(package: Package, new: bytes) -> Rewritten:
    """The package's tar archive with ``new`` as its module, and its metadata mended."""
    module = sole_module(package)
    old = package.archive.contents(module.member)
    first, *links = (paths.plain(name) for name in module.names)
    change = Replacement(first, old, new, tuple(links))
    contents_of: dict[str, bytes] = {}
    notices = list(_of_links(first, links))
    for name, member in package.metadata.items():
        if member.size > MAX_METADATA:
            raise DamagedFileError(
                f"has {counted(member.size, 'byte')}, more than the {MAX_METADATA >> 20} MiB that "
                "are mended",
                where=name,
                todo="extract the module and patch it by itself",
            )
        text = package.archive.contents(member).decode("latin-1")  # a character a byte
        with _advising("extract the module and patch it by itself"):
            mending = _mend(text, name, change)
        notices += mending.notices
        if mending.edits:
            contents_of[member.name] = apply_edits(text, mending.edits).encode("latin-1")
    contents_of[module.member.name] = new
    raw = Bulk.join(tar.replace(package.archive, contents_of))
    return Rewritten(raw, tuple(contents_of), tuple(notices))


def _of_links(first: str, links: Sequence[str]) -> Iterator[str]:
    for link in links[:_TOLD]:
        yield f"{shown(link)} is a hard link to {shown(first)}: both names are of the one file"
    if more := len(links[_TOLD:]):
        yield f"{counted(more, 'more hard link')} to {shown(first)}: all names are of the one file"


@contextlib.contextmanager
def _advising(todo: str) -> Iterator[None]:
    """What to do where a refusal does not say it."""
    try:
        yield
    except DamagedFileError as error:
        error.todo = error.todo or todo
        raise


def _mend(text: str, name: str, change: Replacement) -> Mending:
    if name == contents.NAME:
        return contents.mend(text, change)
    return manifest.mend(text, name, change)


def _by_path(archive: TarArchive) -> dict[str, Member]:
    """The members by their place in the system, of which each is taken once."""
    by_path: dict[str, Member] = {}
    for member in archive.members:
        path = paths.plain(member.name)
        is_top = not path and not member.is_directory  # a link or file in place of "."
        if is_top or "\0" in member.name or paths.climbs(member.name):
            raise DamagedFileError(
                "the member's name leads out of the package",
                where=shown(member.name),
                todo=DISTRUST,
            )
        before = by_path.get(path)
        if before is not None and not (before.is_directory and member.is_directory):
            raise DamagedFileError(
                "the package holds this member twice", where=shown(path), todo=DISTRUST
            )
        by_path[path] = member
    return by_path


def _metadata(by_path: Mapping[str, Member]) -> dict[str, Member]:
    """The packing lists and manifests, which lie at the top, under relative names."""
    found = {name: by_path[name] for name in METADATA if name in by_path}
    if contents.NAME not in found and manifest.NAME not in found:
        raise UnknownModuleError(
            f"no {contents.NAME} and no {manifest.NAME} in it: not a FreeBSD package",
            todo="give a package, or the module itself",
        )
    for name, member in found.items():
        if member.name.startswith("/"):
            raise DamagedFileError(
                "the metadata is not where it belongs", where=name, todo=DISTRUST
            )
    return found


def _check_are_reached_through_folders(by_path: Mapping[str, Member]) -> None:
    """No member may lie behind a link: unpacking would write it elsewhere."""
    places = sorted(by_path)
    for path, member in by_path.items():
        below = bisect_left(places, f"{path}/")
        if not member.is_directory and below < len(places) and places[below].startswith(f"{path}/"):
            raise DamagedFileError(
                f"lies behind {shown(member.name)}, which is no directory",
                where=shown(places[below]),
                todo=DISTRUST,
            )


def _check_metadata(metadata: Mapping[str, Member], names: Mapping[str, Sequence[str]]) -> None:
    """A metadata file must be a file of its own: to be a link, or to have one, is a trick."""
    for name, member in metadata.items():
        if len(names.get(name, ())) != 1:
            raise DamagedFileError(
                "is a link or a device, or has a hard link to it",
                where=shown(member.name),
                todo=DISTRUST,
            )


def _is_signature(name: str) -> bool:
    """Names that signing tools give to what they add."""
    path = paths.plain(name)
    return path in ("+SIGNATURE", "+PKG_GPG_SIGNATURE", "signature") or (
        "/" not in path and path.endswith((".sig", ".pub", ".asc"))
    )
