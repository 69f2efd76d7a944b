"""What libarchive, and so bsdtar and pkg, reads in an archive: the library itself, called."""

from __future__ import annotations

import ctypes
import hashlib
import stat
from functools import cache
from typing import Any, Final, NamedTuple

_OK, _EOF, _WARN = 0, 1, -20
_LINKS: Final = ("hardlink", "symlink")


class Entry(NamedTuple):
    """One member: its name, ``file``, ``folder``, ``hardlink`` or ``symlink``, what it holds."""

    name: str
    kind: str
    target: str
    digest: str


@cache
def _library() -> Any:
    library = ctypes.CDLL("libarchive.so.13")  # comes with Debian's libarchive-tools
    for name in ("archive_read_new", "archive_entry_new"):
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("pathname", "hardlink", "symlink"):
        getattr(library, f"archive_entry_{name}").restype = ctypes.c_char_p
    library.archive_read_data.restype = ctypes.c_ssize_t
    return library


def read(data: bytes) -> list[Entry] | None:
    """All members of a tar archive, or None where libarchive does not read it to its end."""
    library = _library()
    archive = ctypes.c_void_p(library.archive_read_new())
    try:
        library.archive_read_support_format_tar(archive)
        if library.archive_read_open_memory(archive, data, ctypes.c_size_t(len(data))) != _OK:
            return None
        found: list[Entry] = []
        entry = ctypes.c_void_p()
        while (status := library.archive_read_next_header(archive, ctypes.byref(entry))) != _EOF:
            if status not in (_OK, _WARN):
                return None
            held = _contents(library, archive)
            if held is None:
                return None
            found.append(_entry(library, entry, held))
        return found
    finally:
        library.archive_read_free(archive)


def _contents(library: Any, archive: ctypes.c_void_p) -> bytes | None:
    held = bytearray()
    piece = ctypes.create_string_buffer(1 << 16)
    while count := library.archive_read_data(archive, piece, ctypes.c_size_t(len(piece))):
        if count < 0:
            return None
        held += piece.raw[:count]
    return bytes(held)


def _entry(library: Any, entry: ctypes.c_void_p, held: bytes) -> Entry:
    name = (library.archive_entry_pathname(entry) or b"").decode("utf-8", "surrogateescape")
    digest = hashlib.sha256(held).hexdigest()
    for link in _LINKS:
        target = getattr(library, f"archive_entry_{link}")(entry)
        if target is not None:
            return Entry(name, link, target.decode("utf-8", "surrogateescape"), digest)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}
    return Entry(name, kinds.get(library.archive_entry_filetype(entry), "other"), "", digest)
