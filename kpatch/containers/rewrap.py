"""A target with another module in it, wrapped as the old one was, or as the kept copy is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch.storage.bulk import Bulk

if TYPE_CHECKING:
    from kpatch.containers.compression import Compression
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


def rewrapped(target: Target, change: ModuleChange, *, patched: bool) -> Changed:
    """``target`` with its module gone through ``change``.

    ``patched`` says whether the result is a patched file or an original; an original that was
    packed is taken from the copy kept beside the file, if there is one. Raises what ``change`` and
    the archive raise.
    """
    if target.kind is None or target.compression is None:
        module = target.modules[0]
        return Changed(Bulk(change(module.name, module.data)), ())
    from kpatch.containers.sniff import Kind

    if target.kind is Kind.PACKED:
        return _packed(target, target.compression, change, patched=patched)
    return _package(target, target.compression, change, patched=patched)


def _packed(target: Target, kind: Compression, change: ModuleChange, *, patched: bool) -> Changed:
    from kpatch.containers.compression import Compression
    from kpatch.containers.packed import Packed, with_original, with_patched

    module = target.modules[0]
    new = change(module.name, module.data)
    if new == module.data:
        return Changed(target.data, ())
    packed = Packed(module.data, kind, target.data.whole())
    if patched:
        done = with_patched(packed, new)
        notice = (
            f"no {kind.value} level known here makes this file: without the kept copy, revert "
            "gives back the same module compressed differently"
        )
        return Changed(Bulk(done.data), () if done.is_exact else (notice,))

    def again() -> Changed:
        back = with_original(packed, new)
        return Changed(Bulk(back.data), (), back.is_exact)

    if kind is Compression.GZIP and (back := again()).is_exact:  # its header has the SHA-256
        return back
    return _given_back(target.path, kind, Bulk(new), again)


def _package(target: Target, kind: Compression, change: ModuleChange, *, patched: bool) -> Changed:
    from kpatch.containers.package import with_module

    name = str(target.path)
    new = with_module(
        target.data, name, lambda member, data: change(f"{name}: {member}", data), target.package
    )
    if new is None:
        return Changed(target.data, ())
    if patched:
        done = new.result()
        return Changed(done.data, done.notices, is_exact=False)
    return _given_back(
        target.path,
        kind,
        new.contents,
        lambda: Changed(new.compressed(), new.notices, is_exact=False),
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
