"""A file on the command line: a module, a compressed module, or a package with modules in it.

``open_target`` reads it, ``changed`` wraps the new module as the old one was, ``store`` writes.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch import storage as files
from kpatch.elf.constants import ELF_MAGIC
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, FileAccessError, UnknownModuleError
from kpatch.storage.bulk import Bulk

if TYPE_CHECKING:
    from kpatch.containers.compression import Compression
    from kpatch.containers.package.archive import Package, PackagedModule
    from kpatch.containers.sniff import Kind

ModuleChange = Callable[[str, bytes], bytes]
"""From a module's name and bytes to its new bytes."""


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
                f"it holds {len(self.modules)} modules",
                where=str(self.path),
                todo="name one with one module",
            )
        return read_module(self.modules[0].data, self.modules[0].name)


class Changed(NamedTuple):
    """A target's new bytes, and what the user must know about them.

    ``is_exact`` says of an original that was given back that it is known to be the file as it
    was, byte for byte, and not only its contents, compressed again.
    """

    data: Bulk
    notices: tuple[str, ...]
    is_exact: bool = True


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
    from kpatch.containers.packed import unpack
    from kpatch.containers.sniff import Kind, sniff

    kind, compression = sniff(data, name)
    if kind is Kind.MODULE:
        _refuse_foreign(data, name)
        return Target(path, data, None, None, (Inside(name, data.whole),))
    if kind is Kind.PACKED:
        payload = unpack(data, compression, name).payload
        return Target(path, data, kind, compression, (Inside(name, lambda: payload),))
    from kpatch.containers.package import modules_in

    modules = modules_in(data, name)
    inside = tuple(_inside(name, module) for module in modules)
    return Target(path, data, kind, compression, inside, modules[0].package)


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
        return Stored(None, _notices(files.replace(place, data, like=target.path)))
    if not keep:
        return Stored(None, _notices(files.replace(place, data, expected=target.data)))
    # Imported here: scan keeps no copies.
    from kpatch.containers.copies import kept

    with kept(place, target.data) as copy:
        return Stored(copy, _notices(files.replace(place, data, expected=target.data)))


def _notices(lost: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"its attribute {name} could not be kept" for name in lost)


def changed(target: Target, change: ModuleChange, *, patched: bool) -> Changed:
    """``target`` with its module gone through ``change``.

    ``patched`` says whether the result is a patched file or an original; an original that was
    packed is taken from the copy kept beside the file, if there is one. Raises what ``change`` and
    the archive raise.
    """
    if target.kind is None:
        module = target.modules[0]
        return Changed(Bulk(change(module.name, module.data)), ())
    if len(target.modules) == 1 and target.compression is not None and _is_packed(target):
        done = _packed(target, target.compression, change, patched=patched)
    else:
        done = _package(target, change)
    if patched or done.data == target.data:
        return done
    from kpatch.containers.copies import kept_original

    kept = kept_original(target.path, done.data)
    return Changed(kept, (), True) if kept is not None else done


def _is_packed(target: Target) -> bool:
    from kpatch.containers.sniff import Kind

    return target.kind is Kind.PACKED


def _packed(target: Target, kind: "Compression", change: ModuleChange, *, patched: bool) -> Changed:
    from kpatch.containers.packed import Packed, with_original, with_patched

    module = target.modules[0]
    new = change(module.name, module.data)
    if new == module.data:
        return Changed(target.data, ())
    packed = Packed(module.data, kind, target.data.whole())
    if not patched:
        back = with_original(packed, new)
        return Changed(Bulk(back.data), (), back.is_exact)
    done = with_patched(packed, new)
    notice = (
        f"no {kind.value} level known here makes this file: without the kept copy, revert gives "
        "back the same module compressed differently"
    )
    return Changed(Bulk(done.data), () if done.is_exact else (notice,))


def _package(target: Target, change: ModuleChange) -> Changed:
    from kpatch.containers.package import replace_module

    prefix = f"{target.path}: "
    result = replace_module(
        target.data,
        str(target.path),
        lambda name, data: change(prefix + name, data),
        target.package,
    )
    return Changed(result.data, result.notices, is_exact=False)
