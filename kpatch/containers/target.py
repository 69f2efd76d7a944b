"""A file on the command line: a module, a compressed module, or a package with modules in it.

``open_target`` reads it, ``rewrap`` wraps a new module as the old one was, ``store`` writes.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch import storage as files
from kpatch.elf.constants import ELF_MAGIC
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, FileAccessError, UnknownModuleError
from kpatch.storage.bulk import PIECE, Bulk
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.containers.compression import Compression
    from kpatch.containers.package.archive import Package, PackagedModule
    from kpatch.containers.sniff import Kind


class Inside(NamedTuple):
    """A module: what messages call it, and what reads its bytes."""

    name: str
    read: Callable[[], bytes]

    @property
    def data(self) -> bytes:
        """Its bytes, read now. Raises DamagedFileError, said of the module."""
        try:
            return self.read()
        except DamagedFileError as error:
            raise error.within(self.name) from None


class Target(NamedTuple):
    """A file that was read, and the modules in it. ``kind`` and compression are None for a bare
    module, which need not pay for what tells the others apart.
    """

    path: Path
    data: Bulk
    kind: "Kind | None"
    compression: "Compression | None"
    modules: tuple[Inside, ...]
    package: "Package | None" = None

    @property
    def only_module(self) -> Module:
        """The module of a file that has one. Raises UnknownModuleError, and what reading raises."""
        if len(self.modules) != 1:
            raise UnknownModuleError(
                f"it holds {counted(len(self.modules), 'module')}",
                where=str(self.path),
                todo="name one with one module",
            )
        return read_module(self.modules[0].data, self.modules[0].name)


def open_target(path: Path) -> Target:
    """Read ``path``. Raises FileAccessError, DamagedFileError, UnknownModuleError."""
    try:
        data = files.read_bulk(path)
    except FileAccessError:
        files.require_no_folder(path)
        raise
    name = str(path)
    if data.part(0, len(ELF_MAGIC)) == ELF_MAGIC:
        return Target(path, data, None, None, (Inside(name, data.whole),))
    # Imported here: a plain module need not pay for them.
    from kpatch.containers.compression import Compression
    from kpatch.containers.packed import unpack
    from kpatch.containers.sniff import Kind, sniff

    kind, compression = sniff(data, name)
    if kind is Kind.MODULE:
        _refuse_foreign(data, name)
        return Target(path, data, None, None, (Inside(name, lambda: module_bytes(data)),))
    if compression is Compression.GZIP:
        _require_header(data, name)
    if kind is Kind.PACKED:
        payload = unpack(data, compression, name).payload
        return Target(path, data, kind, compression, (Inside(name, lambda: payload),))
    from kpatch.containers.package import modules_in

    modules = modules_in(data, name)
    inside = tuple(_inside(name, module) for module in modules)
    return Target(path, data, kind, compression, inside, modules[0].package)


def module_bytes(data: Bulk) -> bytes:
    """All of what is to be a module; of what is no ELF file only a part, for that to be said of."""
    is_elf = data.part(0, len(ELF_MAGIC)) == ELF_MAGIC
    return data.whole() if is_elf else data.part(0, PIECE)


def _require_header(data: Bulk, name: str) -> None:
    """Raise DamagedFileError for a gzip header that a changed file could not have."""
    from kpatch.containers.gzip import read_header

    try:
        read_header(data)
    except DamagedFileError as error:
        raise error.within(name) from None


def _refuse_foreign(data: Bulk, name: str) -> None:
    """Raise DamagedFileError that says what a file is which is no module, where that is known."""
    from kpatch.containers.foreign import told

    foreign = told(data)
    if foreign is not None:
        raise DamagedFileError(foreign.sentence, where=name, todo=foreign.todo)


def _inside(name: str, module: "PackagedModule") -> Inside:
    return Inside(f"{name}: {module.name}", lambda: module.data)


class Stored(NamedTuple):
    """The kept copy of the original, if there is one, and what the user must know."""

    copy: Path | None
    notices: tuple[str, ...]


def store(target: Target, data: Bulk, place: Path, *, in_place: bool, keep: bool = False) -> Stored:
    """Write what became of ``target`` to ``place``; in place only over what was read from there.

    With ``keep`` the original is kept beside it; where the file cannot be replaced after all, no
    new copy stays. Raises FileAccessError.
    """
    if not in_place:
        lost = _notices(files.replace(place, data, like=target.path))
        return Stored(None, (*lost, *_misnamed(target, place)))
    if not keep:
        return Stored(None, _notices(files.replace(place, data, expected=target.data)))
    # Imported here: scan keeps no copies.
    from kpatch.containers.copies import kept

    with kept(place, target.data) as copy:
        return Stored(copy, _notices(files.replace(place, data, expected=target.data)))


def _misnamed(target: Target, place: Path) -> Iterator[str]:
    """What to know of a module that is compressed, and by its name is not."""
    if target.compression is not None and target.package is None and place.suffix == ".ko":
        how = f"compressed with {target.compression.value}, as {target.path.name} is"
        yield f"it is {how}; kldload takes it only unpacked"


def _notices(lost: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"its attribute {name} could not be kept" for name in lost)
