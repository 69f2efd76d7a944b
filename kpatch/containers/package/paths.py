"""Names of members as paths of the installed system."""

from __future__ import annotations

import re
from typing import Final

_MODULE: Final = re.compile(r"(.*/)?(kqemu\.ko|boot/(modules|kernel)/([^/]+\.ko|kqemu))")
"""kldload(8) tries a name as it is, and then with ``.ko`` (linker_ext_list in FreeBSD's
sys/kern/kern_linker.c)."""
_IN_MODULE_FOLDER: Final = re.compile(r"boot/(modules|kernel)/[^/]+")
_NOT_LISTED: Final = ".symbols"
_DEBUG: Final = "usr/lib/debug/"
_COMPRESSED_MODULE: Final = re.compile(r"(.*/)?kqemu\.ko\.(gz|bz2|xz|zst)")


def plain(name: str) -> str:
    """``name`` without a leading slash, empty parts and dots: both ``/boot/modules/kqemu.ko``
    (pkg) and ``boot/modules/kqemu.ko`` (pkg_install) are ``boot/modules/kqemu.ko``.
    """
    path = "/".join(part for part in name.split("/") if part not in ("", "."))
    return name if path == name else path  # mostly, and it need not be in memory twice


def climbs(name: str) -> bool:
    """Does the name go up, out of the folder where it is unpacked?"""
    return ".." in name.split("/")


def is_module(name: str) -> bool:
    """Is it a place where a kernel module is kept? No kernel loads one from the debug folder."""
    path = plain(name)
    return _MODULE.fullmatch(path) is not None and not path.startswith(_DEBUG)


def is_listed(name: str) -> bool:
    """Does kldxref(8) look into a file of this name? Whatever it is called: in a folder of modules
    it leaves out ``.symbols`` alone (FreeBSD's usr.sbin/kldxref/kldxref.c).
    """
    path = plain(name)
    return _IN_MODULE_FOLDER.fullmatch(path) is not None and not path.endswith(_NOT_LISTED)


def is_compressed_module(name: str) -> bool:
    """Is it a module that only the boot loader can read?"""
    return _COMPRESSED_MODULE.fullmatch(plain(name)) is not None
