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
    Rewritten,
    open_package,
    rewrite,
    sole_module,
    without_module,
)
from kpatch.containers.package.tar import shown
from kpatch.containers.recompress import FoundEncoder, find_encoder, leads_back, other_bytes
from kpatch.errors import KpatchError
from kpatch.storage.bulk import Bulk

__all__ = [
    "ChangedPackage",
    "PackageResult",
    "PackagedModule",
    "modules_in",
    "with_module",
]


@dataclass(frozen=True)
class PackageResult:
    """A package after a change: the file, which members changed, what the user must know."""

    data: Bulk
    changed: tuple[str, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class ChangedPackage:
    """A package with another module in it, not compressed yet: ``old`` was there, ``rewritten`` is
    its archive.
    """

    package: Package
    old: bytes
    rewritten: Rewritten

    @property
    def contents(self) -> Bulk:
        """The archive."""
        return self.rewritten.raw

    def compressed(self) -> Bulk:
        """The file, compressed the way the package was."""
        return self._compressed_by(self._encoder())

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user must know of it."""
        signed = ("the package is signed; the signature no longer holds",)
        return (
            *self.rewritten.notices,
            *(signed if self.package.is_signed else ()),
            "the checksum of the package file is another one; a repository catalogue that lists "
            "the old one must be made again",
        )

    def result(self, *, stays: bool) -> PackageResult:
        """The file, and what of it does not come back byte for byte when the change is undone.

        Where the original ``stays`` the way back is not compressed to the end to see that, only as
        far as it takes to find the encoder.
        """
        found = self._encoder()
        data = self._compressed_by(found)
        notices = (*self.notices, *_undo_notices(self, found, data, stays=stays))
        return PackageResult(data, self.rewritten.changed, notices)

    def _compressed_by(self, found: FoundEncoder) -> Bulk:
        return Bulk.join(found.encoder.compress(self.contents))

    def _encoder(self) -> FoundEncoder:
        return find_encoder(self.package.data, self.package.archive.raw, self.package.compression)


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


def with_module(
    data: Bulk,
    name: str,
    patch: Callable[[str, bytes], bytes],
    opened: Package | None = None,
) -> ChangedPackage | None:
    """The package with its one module gone through ``patch``; None where that is the old one.

    ``opened`` is what ``data`` was found to be, if that is known. ``patch`` gets the member's name
    and the module, and returns the new module. ``name`` is the package's, for messages. Raises what
    ``open_package``, ``sole_module``, ``contents.mend`` and ``manifest.mend`` raise, and whatever
    ``patch`` raises, said of ``name``.
    """
    try:
        package = opened or open_package(data)
        module = sole_module(package)
        old = package.archive.contents(module.member)
        try:
            new = patch(module.names[0], old)
        except KpatchError as error:
            raise error.within(shown(module.names[0])) from None
        return None if new == old else ChangedPackage(package, old, rewrite(package, new))
    except KpatchError as error:
        raise error.within(name) from None


def _undo_notices(
    new: ChangedPackage, found: FoundEncoder, result: Bulk, *, stays: bool
) -> list[str]:
    """Undo the change, and say what does not come back byte for byte."""
    package = new.package
    changed, raw = _undone(result, new.old)
    if raw != package.archive.raw:
        return ["without the kept copy, revert gives back the same files in another archive"]
    kind = package.compression
    comes_back = leads_back(package.data, raw, found, result, changed, kind, stays=stays)
    return [] if comes_back else [other_bytes(kind, "archive")]


def _undone(result: Bulk, old: bytes) -> tuple[Bulk, Bulk]:
    """What is in ``result``, and what is when the module is ``old`` again.

    Its members, which may be very many, are let go: who compresses needs the memory.
    """
    changed = open_package(result)
    return changed.archive.raw, rewrite(changed, old).raw
