"""Extended headers: what stands in front of a member and says more of it.

POSIX.1-2017, pax, "pax Interchange Format", and GNU's long names. Readers differ in which records
they know, and in which of two they follow. So a name or a size has one source, and a record that
is not in the tables below is refused: it might make the member another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from kpatch.errors import DamagedFileError

PAX: Final = b"x"
PAX_GLOBAL: Final = b"g"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
EXTENSIONS: Final = (PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK)

_TELLING: Final = ("path", "linkpath", "size", "hdrcharset")
"""Records that say which file a member is."""

_CHARSETS: Final = ("BINARY", "ISO-IR 10646 2000 UTF-8")

_HARMLESS: Final = (
    *("atime", "ctime", "mtime", "uid", "gid", "uname", "gname", "comment"),
    *("LIBARCHIVE.creationtime", "RHT.security.selinux"),
    *("SCHILY.acl.access", "SCHILY.acl.ace", "SCHILY.acl.default", "SCHILY.fflags"),
    *("SCHILY.dev", "SCHILY.devmajor", "SCHILY.devminor", "SCHILY.ino", "SCHILY.nlink"),
)
"""Records that leave a member's name, kind and contents alone (libarchive,
archive_read_support_format_tar.c; star(5))."""

_HARMLESS_FAMILIES: Final = ("SCHILY.xattr.", "LIBARCHIVE.xattr.")

_RECORD: Final = re.compile(rb"([0-9]{1,7}) ([^=\0\n]+)=")
_TODO: Final = "make the package again with plain members"


class Extension(NamedTuple):
    """One extended header: its type, its contents, and where it stands in the archive."""

    type: bytes
    body: bytes
    position: int


def told_by(extensions: Iterable[Extension], *, is_gnu: bool) -> dict[str, str]:
    """What the headers in front of one member say of it: ``path``, ``linkpath``, ``size``.

    ``is_gnu`` says that the member's own header is in GNU's form: libarchive takes a long name in
    front of any other for nothing. Raises DamagedFileError for a malformed header, a record that
    is not known, and for a second source of what a first one said.
    """
    told: dict[str, str] = {}
    seen: set[bytes] = set()
    for extension in extensions:
        type_, _, position = extension
        if type_ in seen and type_ != PAX_GLOBAL:
            raise _refused(
                f"two extended headers of type {type_.decode()!r} for one file", position
            )
        seen.add(type_)
        if type_ in (GNU_LONG_NAME, GNU_LONG_LINK) and not is_gnu:
            raise _refused("GNU's long name in front of a header that is not GNU's", position)
        for key, value in _records(extension):
            _require_known(key, value, type_, position)
            if key not in _TELLING:
                continue
            if key in told:
                raise _refused(f"the record '{key}' stands there twice for one file", position)
            told[key] = value
    return told


def _records(extension: Extension) -> list[tuple[str, str]]:
    type_, body, position = extension
    if type_ == GNU_LONG_NAME:
        return [("path", _long_name(body, position))]
    if type_ == GNU_LONG_LINK:
        return [("linkpath", _long_name(body, position))]
    return _pax_records(body, position)


def _require_known(key: str, value: str, type_: bytes, position: int) -> None:
    if key in _TELLING:
        if type_ == PAX_GLOBAL:
            raise _refused(f"the record '{key}' in a global header is about every file", position)
        if not value or "\0" in value:
            raise _refused(f"the record '{key}' is empty or holds a zero byte", position)
        if key == "hdrcharset" and value not in _CHARSETS:
            raise _refused(f"names are in a character set that is not known ({key})", position)
    elif key not in _HARMLESS and not key.startswith(_HARMLESS_FAMILIES):
        what = "makes a file a sparse one" if ".sparse." in key else "may change what a file is"
        shown = key if key.isascii() and key.isprintable() and len(key) <= 80 else "(unprintable)"
        raise _refused(f"the record '{shown}' {what}, and is not read here", position)


def _long_name(body: bytes, position: int) -> str:
    name = body.rstrip(b"\0")
    if not name or b"\0" in name:
        raise _refused("a long name is empty or holds a zero byte", position)
    return name.decode("utf-8", "surrogateescape")


def _pax_records(body: bytes, position: int) -> list[tuple[str, str]]:
    r"""Records ``LENGTH KEY=VALUE\n``, where LENGTH counts the whole record."""
    records: list[tuple[str, str]] = []
    at = 0
    while at < len(body):
        match = _RECORD.match(body, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(body) or body[end - 1 : end] != b"\n":
            raise DamagedFileError("a pax header is malformed", where=f"byte {position}")
        key = match[2].decode("utf-8", "surrogateescape")
        records.append((key, body[match.end() : end - 1].decode("utf-8", "surrogateescape")))
        at = end
    return records


def _refused(what: str, position: int) -> DamagedFileError:
    return DamagedFileError(what, where=f"byte {position}", todo=_TODO)
