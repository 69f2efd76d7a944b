"""Package archives: find the kernel module inside, change it, and mend the checksums.

Both kinds that FreeBSD has had are known: pkg_install's (``+CONTENTS``, MD5) and pkg's
(``+MANIFEST``, SHA-256), plain or in bzip2, gzip, xz or zstd.
Everything is a function from bytes to bytes, which ``storage.bulk`` keeps out of memory where they
are many; the same package and the same change give the same result everywhere.

Undoing a change gives back the same tar archive, byte for byte. The compressed file comes
back byte for byte too when its encoder was found (``recompress``); otherwise a notice says,
beforehand, that it will not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kpatch.containers.package.archive import (
    Package,
    PackagedModule,
    open_package,
    rewrite,
    sole_module,
    without_module,
)
from kpatch.containers.package.tar import shown
from kpatch.containers.recompress import FoundEncoder, find_encoder, leads_back
from kpatch.errors import KpatchError
from kpatch.storage.bulk import Bulk

__all__ = [
    "PackageResult",
    "PackagedModule",
    "modules_in",
    "replace_module",
]


@dataclass(frozen=True)
class PackageResult:
    """A package after a change: the file, which members changed, what the user must know."""

    data: Bulk
    changed: tuple[str, ...]
    notices: tuple[str, ...]


def modules_in(data: Bulk, name: str = "") -> tuple[PackagedModule, ...]:
    """All kernel modules in the package, in its order; at least one.

    Raises DamagedFileError and UnknownModuleError as ``archive.open_package`` does, and
    OtherModuleError where there is none, said of ``name``.
    """
    try:
        package = open_package(data)
        if not package.modules:
            raise without_module(package)
    except KpatchError as error:
        raise error.within(name) from None
    return tuple(
        PackagedModule(module.names[0], package, module.member) for module in package.modules
    )


def replace_module(
    data: Bulk,
    name: str,
    patch: Callable[[str, bytes], bytes],
    opened: Package | None = None,
) -> PackageResult:
    """The package with its one module gone through ``patch``, and the checksums mended.

    ``opened`` is what ``data`` was found to be, if that is known. ``patch`` gets the member's name
    and the module, and returns the new module. When that is the old one, the package comes back as
    it is. ``name`` is the package's, for messages. Raises what ``open_package``, ``sole_module``,
    ``contents.mend`` and ``manifest.mend`` raise, and whatever ``patch`` raises, said of ``name``.
    """
    try:
        package = opened or open_package(data)
        module = sole_module(package)
        old = package.archive.contents(module.member)
        try:
            new = patch(module.names[0], old)
        except KpatchError as error:
            raise error.within(shown(module.names[0])) from None
        if new == old:
            return PackageResult(data, (), ())
        return _replace(package, new, old)
    except KpatchError as error:
        raise error.within(name) from None


def _replace(package: Package, new: bytes, old: bytes) -> PackageResult:
    """The result for a module that did change, from ``old`` to ``new``."""
    rewritten = rewrite(package, new)
    found = find_encoder(package.data, package.archive.raw, package.compression)
    result = Bulk.join(found.encoder.compress(rewritten.raw))
    notices = list(rewritten.notices)
    if package.is_signed:
        notices.append("the package is signed; the signature no longer holds")
    notices.append(
        "the checksum of the package file is another one; a repository catalogue that lists "
        "the old one must be made again"
    )
    notices += _undo_notices(package, found, result, old)
    return PackageResult(result, rewritten.changed, tuple(notices))


def _undo_notices(package: Package, found: FoundEncoder, result: Bulk, old: bytes) -> list[str]:
    """Undo the change, and say what does not come back byte for byte."""
    changed, raw = _undone(result, old)
    if raw != package.archive.raw:
        return ["reverting gives back the same files, in an archive that is not the same bytes"]
    if not leads_back(package.data, raw, found, result, changed, package.compression):
        return [
            "reverting gives back the same archive, but other compressed bytes: no "
            f"{package.compression.value} level known here makes those of the original"
        ]
    return []


def _undone(result: Bulk, old: bytes) -> tuple[Bulk, Bulk]:
    """What is in ``result``, and what is when the module is ``old`` again.

    Its members, which may be very many, are let go: who compresses needs the memory.
    """
    changed = open_package(result)
    return changed.archive.raw, rewrite(changed, old).raw
