"""A target with another module in it, wrapped as the old one was, or as the kept copy is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch.storage.bulk import Bulk

if TYPE_CHECKING:
    from kpatch.containers.compression import Compression
    from kpatch.containers.package import ChangedPackage
    from kpatch.containers.target import Target

ModuleChange = Callable[[str, bytes], bytes]
"""From a module's name and bytes to its new bytes."""


class Changed(NamedTuple):
    """A target's new bytes, and what the user must know about them.

    ``is_exact`` says of an original that was given back that it is known to be the file as it
    was, byte for byte, and not only its contents, compressed again.
    """

    data: Bulk
    notices: tuple[str, ...]
    is_exact: bool = True


def patched_target(target: Target, change: ModuleChange, *, stays: bool) -> Changed:
    """``target`` with its module patched by ``change``.

    ``stays`` says that the original does, where it is or as a kept copy: what is compressed is then
    not compressed once more to see that it comes back byte for byte. Raises what ``change`` and the
    archive raise.
    """
    if target.kind is None or target.compression is None:
        return _plain(target, change)
    from kpatch.containers.sniff import Kind

    if target.kind is Kind.PACKED:
        return _packed(target, target.compression, change, stays=stays)
    new = _package(target, change)
    if new is None:
        return Changed(target.data, ())
    done = new.result(stays=stays)
    return Changed(done.data, done.notices, is_exact=False)


def reverted_target(target: Target, change: ModuleChange) -> Changed:
    """``target`` with its original module, which ``change`` makes; what was packed is taken from
    the copy kept beside the file, if there is one. Raises what ``change`` and the archive raise.
    """
    if target.kind is None or target.compression is None:
        return _plain(target, change)
    from kpatch.containers.sniff import Kind

    if target.kind is Kind.PACKED:
        return _unpacked(target, target.compression, change)
    new = _package(target, change)
    if new is None:
        return Changed(target.data, ())
    return _given_back(
        target.path,
        target.compression,
        new.contents,
        lambda: Changed(new.compressed(), new.notices, is_exact=False),
    )


def _plain(target: Target, change: ModuleChange) -> Changed:
    module = target.modules[0]
    return Changed(Bulk(change(module.name, module.data)), ())


def _packed(target: Target, kind: Compression, change: ModuleChange, *, stays: bool) -> Changed:
    from kpatch.containers.packed import Packed, with_patched

    module = target.modules[0]
    new = change(module.name, module.data)
    if new == module.data:
        return Changed(target.data, ())
    done = with_patched(Packed(module.data, kind, target.data.whole()), new, stays=stays)
    if done.is_exact:
        return Changed(Bulk(done.data), ())
    from kpatch.containers.recompress import other_bytes

    return Changed(Bulk(done.data), (other_bytes(kind, "module"),))


def _unpacked(target: Target, kind: Compression, change: ModuleChange) -> Changed:
    from kpatch.containers.compression import Compression
    from kpatch.containers.packed import Packed, with_original

    module = target.modules[0]
    new = change(module.name, module.data)
    if new == module.data:
        return Changed(target.data, ())

    def again() -> Changed:
        back = with_original(Packed(module.data, kind, target.data.whole()), new)
        return Changed(Bulk(back.data), (), back.is_exact)

    if kind is Compression.GZIP and (back := again()).is_exact:  # its header has the SHA-256
        return back
    return _given_back(target.path, kind, Bulk(new), again)


def _package(target: Target, change: ModuleChange) -> ChangedPackage | None:
    from kpatch.containers.package import with_module

    name = str(target.path)
    return with_module(
        target.data, name, lambda member, data: change(f"{name}: {member}", data), target.package
    )


def _given_back(
    path: Path, kind: Compression, contents: Bulk, again: Callable[[], Changed]
) -> Changed:
    """The kept copy that holds ``contents``; where there is none, or several, of which any may be
    the file as it was, what ``again`` compresses.
    """
    # Imported here: only what gives an original back looks for copies.
    from kpatch.containers.copies import kept_files

    kept = kept_files(path, kind, contents)
    if len(kept) == 1:
        return Changed(kept[0], ())
    made = again()
    return Changed(made.data, ()) if made.data in kept else made
