"""Packages to test with: made by the real tar programs, or by hand where no tool would."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import zstandard

MODULE: Final = b"\x7fELF" + random.Random(1).randbytes(30_001)
PATCHED: Final = MODULE[:7_000] + b"patched" + MODULE[7_007:] + b"more" * 700

PKG_INSTALL_NAME: Final = "boot/modules/kqemu.ko"
PKG_NAME: Final = "/boot/modules/kqemu.ko"


def to_patched(_name: str, data: bytes) -> bytes:
    """Stands for ``kpatch apply``."""
    return PATCHED if data == MODULE else data


def to_original(_name: str, data: bytes) -> bytes:
    """Stands for ``kpatch revert``."""
    return MODULE if data == PATCHED else data


def packing_list(module: bytes = MODULE, other: bytes = b"text\n") -> str:
    """A ``+CONTENTS`` of 2008, with a file before and a file behind the module."""
    return (
        "@comment PKG_FORMAT_REVISION:1.1\n@name kqemu-kmod-1.4.0.p1_1\n@origin emulators/kqemu\n"
        "@cwd /usr/local\n"
        f"share/doc/kqemu.txt\n@comment MD5:{hashlib.md5(other).hexdigest()}\n"
        "@cwd /\n"
        f"boot/modules/kqemu.ko\n@comment MD5:{hashlib.md5(module).hexdigest()}\n"
        "@exec kldxref /boot/modules\n@unexec kldxref /boot/modules\n"
        "@cwd /usr/local\n@ignore\n+DESC\n"
    )


def manifest(module: bytes = MODULE, other: bytes = b"text\n", *, compact: bool = False) -> str:
    """A manifest as libpkg writes it: compact JSON."""
    document: dict[str, object] = {
        "name": "kqemu-kmod",
        "version": "1.4.0.p1_1",
        "desc": 'A "fast" emulator:\nno {braces}, no [brackets]',
        "flatsize": len(module) + len(other),
        "categories": ["emulators", "kld"],
    }
    if not compact:
        document["files"] = {
            "/usr/local/share/doc/kqemu.txt": "1$" + hashlib.sha256(other).hexdigest(),
            "/boot/modules/kqemu.ko": "1$" + hashlib.sha256(module).hexdigest(),
        }
        document["scripts"] = {"post-install": "kldxref /boot/modules"}
    return json.dumps(document, separators=(",", ":"))


def write_tree(folder: Path, module: bytes = MODULE) -> list[str]:
    """The files of a package as its tools would stage them. Returns the order of members."""
    files = {
        "+CONTENTS": packing_list(module).encode(),
        "+COMPACT_MANIFEST": manifest(module, compact=True).encode(),
        "+MANIFEST": manifest(module).encode(),
        "+DESC": b"A fast emulator\n",
        "share/doc/kqemu.txt": b"text\n",
        "boot/modules/kqemu.ko": module,
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "boot/modules/kqemu.ko").chmod(0o555)
    (folder / "boot/modules/other.link").symlink_to("../kernel/kernel")
    (folder / "share/doc/hard.txt").hardlink_to(folder / "share/doc/kqemu.txt")
    long_name = "share/doc/" + "long-" * 40 + "name.txt"
    (folder / long_name).write_bytes(b"a name for an extended header\n")
    return [*files, "boot/modules/other.link", "share/doc/hard.txt", long_name]


def make_with(program: str, flags: list[str], folder: Path, members: list[str]) -> bytes:
    """The archive that a real tar program makes of ``members``, written to a file."""
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "archive"
        command = [program, *flags, "-cf", str(archive), "-C", str(folder), *members]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return archive.read_bytes()


def package(
    members: Mapping[str, bytes] | None = None,
    *,
    extra: list[tarfile.TarInfo] | None = None,
    format_: int = tarfile.PAX_FORMAT,
) -> bytes:
    """An uncompressed package with the given files, and ``extra`` members of any kind."""
    if members is None:
        members = {"+MANIFEST": manifest().encode(), PKG_NAME: MODULE}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra or []:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return stream.getvalue()


def member(
    name: str, type_: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    """A header for ``package(extra=...)``."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type_, link, size
    return info


def files_of(raw_or_compressed: bytes) -> dict[str, bytes]:
    """Names and contents, as Python's own tarfile reads them."""
    data = raw_or_compressed
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            info.name: stream.read()
            for info in archive
            if (stream := archive.extractfile(info)) is not None
        }


def with_header_field(raw: bytes, name: str, start: int, value: bytes) -> bytes:
    """The archive with bytes of one member's header replaced, and its checksum set right."""
    at = raw.index(name.encode() + b"\0" * 10)
    header = bytearray(raw[at : at + 512])
    header[start : start + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return raw[:at] + header + raw[at + 512 :]


COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "none": bytes,
    "bzip2": bz2.compress,
    "gzip": lambda raw: gzip.compress(raw, 6, mtime=1_209_600_000),
    "xz": lambda raw: lzma.compress(raw, preset=6),
    "zstd": lambda raw: zstandard.ZstdCompressor(level=19).compress(raw),
}
