"""The build backend: setuptools, and the same bytes from the same tree, whenever and by whomever.

What setuptools packs carries the clock, the owner and the umask of the machine, so it is packed
once more without them.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any, Final

from setuptools import build_meta

_EPOCH: Final = "315532800"
"""1 January 1980: the earliest time that a wheel, a zip file, can hold."""

os.environ.setdefault("SOURCE_DATE_EPOCH", _EPOCH)

build_editable = build_meta.build_editable
get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def build_wheel(
    folder: str, settings: dict[str, Any] | None = None, metadata: str | None = None
) -> str:
    """Build the wheel in ``folder``; returns its name."""
    name: str = build_meta.build_wheel(folder, settings, metadata)
    path = Path(folder, name)
    path.write_bytes(_zipped_again(path.read_bytes()))
    return name


def _zipped_again(data: bytes) -> bytes:
    """The same members in the same order, with one time and plain modes."""
    when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    zipped = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(zipped, "w") as new:
        for member in old.infolist():
            plain = zipfile.ZipInfo(member.filename, when)
            is_program = member.external_attr >> 16 & 0o100
            plain.external_attr = (0o100755 if is_program else 0o100644) << 16
            plain.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(plain, old.read(member))
    return zipped.getvalue()


def build_sdist(folder: str, settings: dict[str, Any] | None = None) -> str:
    """Build the source distribution in ``folder``; returns its name."""
    name: str = build_meta.build_sdist(folder, settings)
    path = Path(folder, name)
    path.write_bytes(_packed_again(path.read_bytes()))
    return name


def _packed_again(data: bytes) -> bytes:
    """The same members by name, without owners, with one time."""
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    unpacked = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.linkname, plain.mtime = member.type, member.linkname, when
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            plain.size = member.size
            new.addfile(plain, old.extractfile(member) if member.isreg() else None)
    return gzip.compress(unpacked.getvalue(), 9, mtime=when)
