"""What a file is that kpatch does not read: told by its first bytes, with what to do.

The names are those that bsdtar, pkg and people give such files; the bytes are those that file(1)
goes by.
"""

from __future__ import annotations

import lzma
from typing import Final, NamedTuple

from kpatch.containers.compression import TAR_MAGIC, TAR_MAGIC_OFFSET, XZ_MEMORY
from kpatch.elf.constants import ELF_MAGIC
from kpatch.storage.bulk import Bulk


class Foreign(NamedTuple):
    """What a file is, as a noun with its article, and what to do with it."""

    what: str
    todo: str
    is_container: bool = False

    @property
    def sentence(self) -> str:
        """What it is, and why it does not do."""
        but = "which kpatch does not read" if self.is_container else "not a kernel module"
        return f"this is {self.what}, {but}"


class _Mark(NamedTuple):
    at: int
    magic: bytes
    what: str
    program: str


_COMPRESSED: Final = (
    _Mark(0, b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    _Mark(0, b"\x02\x21\x4c\x18", "lz4", "lz4 -d"),
    _Mark(0, b"\x1f\x9d", "compress (.Z)", "uncompress"),
    _Mark(0, b"\x1f\x1e", "pack (.z)", "gzip -d"),
    _Mark(0, b"\x1f\xa0", "lzh", "gzip -d"),
    _Mark(0, b"\x89LZO\0\r\n\x1a\n", "lzop", "lzop -d"),
    _Mark(0, b"LRZI", "lrzip", "lrzip -d"),
    _Mark(0, b"LZIP", "lzip", "lzip -d"),
    _Mark(0, b"GRZipII", "grzip", "grzip -d"),
)

_ARCHIVES: Final = (
    _Mark(0, b"PK\3\4", "a zip archive", "unzip"),
    _Mark(0, b"PK\5\6", "an empty zip archive", "unzip"),
    _Mark(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x"),
    _Mark(0, b"Rar!\x1a\7", "a RAR archive", "unrar x"),
    _Mark(0, b"070701", "a cpio archive", "bsdtar -xf"),
    _Mark(0, b"070702", "a cpio archive", "bsdtar -xf"),
    _Mark(0, b"070707", "a cpio archive", "bsdtar -xf"),
    _Mark(0, b"\xc7\x71", "a cpio archive", "bsdtar -xf"),
    _Mark(0, b"\x71\xc7", "a cpio archive", "bsdtar -xf"),
    _Mark(0, b"\xed\xab\xee\xdb", "an RPM package", "bsdtar -xf"),
    _Mark(0, b"!<arch>\ndebian-binary", "a Debian package", "dpkg-deb -x"),
    _Mark(0, b"!<arch>\n", "an ar archive, such as a static library", "ar x"),
    _Mark(0, b"xar!", "a xar archive", "bsdtar -xf"),
    _Mark(0x8001, b"CD001", "an ISO 9660 image", "bsdtar -xf"),
    _Mark(0, b"begin ", "a uuencoded file", "uudecode"),
    _Mark(0, b"begin-base64 ", "a uuencoded file", "uudecode"),
    _Mark(0, b"WARC/", "a web archive", "bsdtar -xf"),
    _Mark(0, b"# This is a shell archive", "a shell archive", "sh"),
    _Mark(0, b"#!/bin/sh\n# This is a shell archive", "a shell archive", "sh"),
)

_FILES: Final = (
    (b"#!", "a script"),
    (b"#mtree", "a list of files (mtree)"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"MZ", "a program for DOS or Windows"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file"),
    (b"\xfe\xed\xfa\xce", "a Mach-O file"),
    (b"BC\xc0\xde", "LLVM bitcode"),
)
_FETCH: Final = "the download gave this in place of the file: get the file again"
_MODULE: Final = "give a kernel module (.ko)"
_LZMA: Final = b"\x5d\0\0"
"""The properties of every lzma program, and the low bytes of its dictionary's size."""


def told(data: Bulk) -> Foreign | None:
    """What ``data`` is, if it is none of what kpatch reads; None for what it reads, or unknown."""
    if not data.size:
        return Foreign("an empty file", "get the file again")
    for mark in _COMPRESSED:
        if _has(data, mark.at, mark.magic):
            return _compressed(mark.what, mark.program, "")
    if _has(data, 0, _LZMA):
        return _compressed("lzma", "xz -d --format=lzma", _inside_lzma(data))
    for mark in _ARCHIVES:
        if _has(data, mark.at, mark.magic):
            todo = f"unpack it ('{mark.program}'), and give kpatch the module in it"
            return Foreign(mark.what, todo, is_container=True)
    for magic, what in _FILES:
        if _has(data, 0, magic):
            return Foreign(what, _FETCH if what == "a web page" else _MODULE)
    return None


def _compressed(by: str, program: str, inside: str) -> Foreign:
    what = f"a {inside or 'file'} compressed with {by}"
    return Foreign(what, f"unpack it ('{program}'), and give kpatch what comes out", True)


def _inside_lzma(data: Bulk) -> str:
    """What the old lzma format holds; empty where it does not read."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=XZ_MEMORY)
    try:
        first = reader.decompress(data.part(0, 4096), TAR_MAGIC_OFFSET + len(TAR_MAGIC))
    except lzma.LZMAError:
        return ""
    if first.startswith(ELF_MAGIC):
        return "module"
    return "tar archive" if first.startswith(TAR_MAGIC, TAR_MAGIC_OFFSET) else ""


def _has(data: Bulk, at: int, magic: bytes) -> bool:
    return data.part(at, at + len(magic)) == magic
