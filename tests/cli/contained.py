"""A module in every container that it comes in, and what one ``apply`` leaves of each."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

from tests.cli.harness import copied, package_bytes, run, sample
from tests.package import makers

ORIGINAL = sample("kqemu-7.ko").read_bytes()
PACKAGES = {".tbz": "bzip2", ".tgz": "gzip", ".txz": "xz", ".pkg": "zstd", ".tar": "none"}

PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    ".ko.xz": lzma.compress,
    ".ko.bz2": bz2.compress,
    ".ko.zst": zstandard.ZstdCompressor(level=3).compress,
}
UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "xz": lzma.decompress,
    "bz2": bz2.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().decompress(data),
}


def made(suffix: str, folder: Path) -> Path:
    """The sample in such a container, in ``folder``."""
    if suffix in PACKED:
        path = folder / f"kqemu{suffix}"
        path.write_bytes(PACKED[suffix](ORIGINAL))
        return path
    if suffix in (".ko", ".ko.gz"):
        return copied(f"kqemu-7{suffix}", folder, f"kqemu{suffix}")
    path = folder / f"kqemu-kmod-1.4.0.p1{suffix}"
    path.write_bytes(package_bytes(PACKAGES[suffix]))
    return path


class Left(NamedTuple):
    """What ``apply`` left in its folder, and what it said."""

    path: Path
    files: dict[str, bytes]
    document: dict[str, Any]

    @property
    def data(self) -> bytes:
        """The container, with the patched module in it."""
        return self.files[self.path.name]


@cache
def left_by_apply(suffix: str, *options: str) -> Left:
    """One ``apply``, in a folder of its own: it runs once for all that look at what it left."""
    with tempfile.TemporaryDirectory() as name:
        path = made(suffix, Path(name))
        done = run("apply", "--no-verify", "--json", *options, path)
        assert done.code == 0
        files = {each.name: each.read_bytes() for each in path.parent.iterdir()}
        return Left(path, files, done.document)


def applied(suffix: str, folder: Path) -> Path:
    """What ``apply`` left, with the copy beside it, in ``folder``."""
    left = left_by_apply(suffix)
    for each, data in left.files.items():
        (folder / each).write_bytes(data)
    return folder / left.path.name


def module_in(path: Path) -> bytes:
    """The module inside, as others than kpatch find it."""
    data = path.read_bytes()
    if path.name.endswith(".ko"):
        return data
    if path.name.startswith("kqemu.ko."):
        return UNPACK[path.name.rpartition(".")[2]](data)
    return makers.files_of(data)[makers.PKG_NAME]


ALL = pytest.mark.parametrize("suffix", [".ko", ".ko.gz", *PACKED, *PACKAGES])
