"""A package as pkg 2.4 writes it: by the same library, called in the same way.

pkg has libarchive write a restricted pax archive through one zstd filter: the two manifests first,
from memory, of root and wheel and without a time; then the files by their absolute names, a second
name of one file as a hard link. The manifest is compact JSON; since 2.4 (2.0 had none) ``files``
maps each path to an object.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

_REGULAR: Final = 0o100000
_MTIME: Final = 1209636000


class File(NamedTuple):
    """A file of the package; ``link`` is the name that it is another name of."""

    name: str
    data: bytes
    perm: int = 0o644
    link: str = ""


@cache
def _library() -> Any:
    library = ctypes.CDLL("libarchive.so.13")
    for name in ("archive_write_new", "archive_entry_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.archive_write_data.restype = ctypes.c_ssize_t
    library.archive_write_data.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.archive_entry_set_size.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.archive_entry_set_mtime.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_long]
    return library


def manifest(files: Sequence[File], *, compact: bool = False) -> bytes:
    """What ``+MANIFEST`` says, and ``+COMPACT_MANIFEST``, which has neither files nor scripts."""
    document: dict[str, object] = {
        "name": "kqemu-kmod",
        "origin": "emulators/kqemu-kmod",
        "version": "1.4.0.p1_11",
        "comment": "Kernel accelerator for QEMU",
        "maintainer": "ports@FreeBSD.org",
        "www": "UNKNOWN",
        "abi": "FreeBSD:14:amd64",
        "arch": "freebsd:14:x86:64",
        "prefix": "/usr/local",
        "flatsize": sum(len(each.data) for each in files if not each.link),
        "licenselogic": "single",
        "desc": "kqemu%0Ano files: here",
        "categories": ["emulators", "kld"],
        "annotations": {"FreeBSD_version": "1400097", "built_by": "poudriere-git-3.4.2"},
    }
    if not compact:
        document["files"] = {each.name: _file(each) for each in files}
        document["directories"] = {"/boot/modules": "y"}
        document["scripts"] = {"post-install": "kldxref %22$(dirname /boot/modules/x)%22"}
    return json.dumps(document, separators=(",", ":")).encode()


def _file(each: File) -> Mapping[str, object]:
    return {
        "sum": "1$" + hashlib.sha256(each.data).hexdigest(),
        "uname": "root",
        "gname": "wheel",
        "perm": f"{each.perm:04o}",
        "fflags": 0,
        "mtime": _MTIME,
    }


def written(files: Sequence[File], *, filters: str = "zstd", level: int = 19) -> bytes:
    """The package. Raises OSError where libarchive will not write it."""
    library = _library()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kqemu-kmod.pkg")
        archive = ctypes.c_void_p(library.archive_write_new())
        library.archive_write_set_format_pax_restricted(archive)
        getattr(library, f"archive_write_add_filter_{filters}")(archive)
        options = f"{filters}:compression-level={level}".encode()
        done = library.archive_write_set_options(archive, options) if filters != "none" else 0
        if done or library.archive_write_open_filename(archive, str(path).encode()):
            raise OSError("libarchive refuses")
        memory = [
            ("+COMPACT_MANIFEST", manifest(files, compact=True)),
            ("+MANIFEST", manifest(files)),
        ]
        for name, data in memory:
            _append(archive, File(name, data), mtime=False)
        for each in files:
            _append(archive, each, mtime=True)
        library.archive_write_close(archive)
        library.archive_write_free(archive)
        return path.read_bytes()


def _append(archive: ctypes.c_void_p, file: File, *, mtime: bool) -> None:
    library = _library()
    entry = ctypes.c_void_p(library.archive_entry_new())
    library.archive_entry_set_filetype(entry, _REGULAR)
    library.archive_entry_set_perm(entry, file.perm)
    library.archive_entry_set_uname(entry, b"root")
    library.archive_entry_set_gname(entry, b"wheel")
    library.archive_entry_set_pathname(entry, file.name.encode())
    data = b"" if file.link else file.data
    library.archive_entry_set_size(entry, len(data))
    if file.link:
        library.archive_entry_set_hardlink(entry, file.link.encode())
    if mtime:
        library.archive_entry_set_mtime(entry, _MTIME, 0)
    if library.archive_write_header(archive, entry):
        raise OSError(f"libarchive refuses {file.name}")
    library.archive_write_data(archive, data, len(data))
    library.archive_entry_free(entry)
