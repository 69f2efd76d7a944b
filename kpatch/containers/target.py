"""A file on the command line: a module, a module in a gzip file, or a package with one inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from kpatch import storage as files
from kpatch.errors import OtherModuleError

Change = Callable[[str, bytes], bytes]
"""From a module's name and bytes to its new bytes."""


class Inside(NamedTuple):
    """A module: what messages call it, and its bytes."""

    name: str
    data: bytes


class Target(NamedTuple):
    """A file that was read, and the modules in it."""

    path: Path
    data: bytes
    kind: Literal["module", "gzip", "package"]
    modules: tuple[Inside, ...]


class Changed(NamedTuple):
    """A target's new bytes, and what the user must know about them."""

    data: bytes
    notices: tuple[str, ...]


def open_target(path: Path) -> Target:
    """Read ``path``. Raises FileAccessError, DamagedFileError, UnknownModuleError."""
    files.require_no_folder(path)
    data = files.read(path)
    name = str(path)
    if data.startswith(b"\x7fELF"):
        return Target(path, data, "module", (Inside(name, data),))
    # Imported here, as the archives are below: a plain module need not pay for them.
    from kpatch.containers.gzip import is_gzip, read_gzip

    if is_gzip(data) and not name.endswith((".tgz", ".pkg")):
        payload = read_gzip(data, name).payload
        if payload.startswith(b"\x7fELF") or not _is_tar(payload):
            return Target(path, data, "gzip", (Inside(name, payload),))
    return _package(path, name, data)


def _is_tar(payload: bytes) -> bool:
    return payload[257:262] == b"ustar"


def _package(path: Path, name: str, data: bytes) -> Target:
    # Imported here: archives cost start-up time that a plain module need not pay.
    from kpatch.containers.package import is_package, modules_in

    if not is_package(name, data):
        return Target(path, data, "module", (Inside(name, data),))
    inside = tuple(Inside(f"{name}: {each.name}", each.data) for each in modules_in(data, name))
    if not inside:
        raise OtherModuleError(
            "no kernel module in this package", where=name, todo="give it a package of kqemu-kmod"
        )
    return Target(path, data, "package", inside)


def store(target: Target, data: bytes, place: Path, *, in_place: bool) -> None:
    """Write what became of ``target`` to ``place``; in place only over what was read from there.

    Raises FileAccessError.
    """
    if in_place:
        files.replace(place, data, expected=target.data)
    else:
        files.replace(place, data, like=target.path)


def changed(target: Target, change: Change, *, patched: bool) -> Changed:
    """``target`` with its module gone through ``change``.

    ``patched`` says whether the result is a patched file or an original. Raises what ``change``
    and the archive raise.
    """
    if target.kind == "package":
        from kpatch.containers.package import replace_module

        prefix = f"{target.path}: "
        result = replace_module(
            target.data, str(target.path), lambda name, data: change(prefix + name, data)
        )
        return Changed(result.data, result.notices)
    module = target.modules[0]
    new = change(module.name, module.data)
    if new == module.data:
        return Changed(target.data, ())
    if target.kind == "module":
        return Changed(new, ())
    from kpatch.containers.gzip import comes_back, read_gzip, with_payload

    zipped = read_gzip(target.data, str(target.path))
    notices: tuple[str, ...] = ()
    if patched and not comes_back(zipped):
        notices = (
            "the gzip file was not made by zlib: revert gives back the same module, "
            "compressed differently",
        )
    return Changed(with_payload(zipped, new, patched=patched), notices)
