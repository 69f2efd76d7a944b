"""A tar archive as it lies in the file: members with their exact bytes.

Python's own tarfile reads archives and writes new ones; it cannot change one member and keep
every other byte. Here a member keeps the offsets of all its blocks, so that ``replace`` copies
what does not change as it is. The format is POSIX.1-2017, pax, "pax Interchange Format" and
"ustar Interchange Format", with GNU's long names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kpatch.containers.package.compression import RECORD
from kpatch.errors import DamagedFileError

BLOCK: Final = 512
END_BLOCKS: Final = 2 * BLOCK
MAX_MEMBERS: Final = 100_000
MAX_EXTENSION: Final = 1 << 20
"""Size of one extended header. Those of real packages are under 1 kB."""
MAX_EXTENSIONS: Final = 8
MAX_NAME: Final = 1024
"""PATH_MAX of FreeBSD (sys/syslimits.h)."""
MAX_SHOWN: Final = 160

REGULAR: Final = (b"0", b"\0", b"7")
HARD_LINK: Final = b"1"
SYMBOLIC_LINK: Final = b"2"
DIRECTORY: Final = b"5"
WITHOUT_DATA: Final = (HARD_LINK, SYMBOLIC_LINK, b"3", b"4", DIRECTORY, b"6")
PAX: Final = b"x"
PAX_GLOBAL: Final = b"g"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
EXTENSIONS: Final = (PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK)


@dataclass(frozen=True)
class Member:
    """One member. Offsets are bytes from the start of the (uncompressed) archive.

    ``start`` is where its first extended header begins, ``header`` its own header block,
    ``data`` its contents of ``size`` bytes, ``end`` the next member. ``is_plain`` says that
    the size stands in the header block alone and the contents are not a sparse file's.
    """

    name: str
    link: str
    type: bytes
    start: int
    header: int
    data: int
    size: int
    end: int
    is_plain: bool

    @property
    def is_regular(self) -> bool:
        """A file with contents."""
        return self.type in REGULAR and not self.name.endswith("/")

    @property
    def is_directory(self) -> bool:
        """A directory, in either of the two ways to write one."""
        return self.type == DIRECTORY or (self.type in REGULAR and self.name.endswith("/"))


@dataclass(frozen=True)
class TarArchive:
    """The members in order, and where the zero blocks at the end begin."""

    raw: bytes
    members: tuple[Member, ...]
    end: int

    def contents(self, member: Member) -> bytes:
        """The bytes of a regular member."""
        return self.raw[member.data : member.data + member.size]


def read(raw: bytes) -> TarArchive:
    """Read all headers of ``raw``.

    Raises DamagedFileError for anything that two readers could take differently: a wrong
    checksum, a size that is no plain octal number or goes past the end, contents on a link,
    a sparse file in GNU's old form, no end mark, bytes behind it.
    """
    members: list[Member] = []
    position = 0
    while not _is_zero(raw, position, position + BLOCK):
        if len(members) == MAX_MEMBERS:
            raise DamagedFileError(f"holds more than {MAX_MEMBERS} members")
        members.append(_read_member(raw, position))
        position = members[-1].end
    if len(raw) - position < END_BLOCKS or not _is_zero(raw, position, len(raw)):
        raise DamagedFileError(
            "the archive does not end with two zero blocks and nothing but zeros behind them",
            where=f"byte {position}",
        )
    return TarArchive(raw, tuple(members), position)


def replace(archive: TarArchive, contents: Mapping[str, bytes]) -> bytes:
    """The archive with new contents for the named members.

    Only the contents, their padding, and the size and checksum in the headers of these
    members change. The end of the archive keeps its form. Raises DamagedFileError when a
    member's size is not written in its header block alone.
    """
    parts: list[bytes] = []
    for member in archive.members:
        new = contents.get(member.name)
        if new is None:
            parts.append(archive.raw[member.start : member.end])
            continue
        if not (member.is_regular and member.is_plain):
            raise DamagedFileError(
                "is a sparse file, or has its size in an extended header", where=shown(member.name)
            )
        parts.append(archive.raw[member.start : member.header])
        parts.append(_resize(archive.raw[member.header : member.data], len(new)))
        parts.append(new + bytes(-len(new) % BLOCK))
    body = b"".join(parts)
    return body + bytes(_end_size(archive, len(body)))


def shown(name: str) -> str:
    """A name as it may be printed: not long, no control characters, nothing that is no text."""
    name = (
        name if len(name) <= MAX_SHOWN else f"{name[: MAX_SHOWN // 2]}...{name[-MAX_SHOWN // 2 :]}"
    )
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _end_size(archive: TarArchive, body: int) -> int:
    """Zeros to put behind ``body`` bytes of members, in the form the archive has.

    Either exactly two blocks (libarchive into a compressor), or filled up to a record (tar),
    or something else, which is kept. A filled-up end that happens to be two blocks gets one
    record more, so that the form can still be told when the change is undone.
    """
    old = len(archive.raw) - archive.end
    is_filled = len(archive.raw) % RECORD == 0 and END_BLOCKS < old <= END_BLOCKS + RECORD
    if not is_filled:
        return old
    fill = END_BLOCKS + -(body + END_BLOCKS) % RECORD
    return fill + RECORD if fill == END_BLOCKS else fill


def _read_member(raw: bytes, start: int) -> Member:
    """The member whose first header, extended or not, is at ``start``."""
    pax: dict[str, str] = {}
    position = start
    for _ in range(MAX_EXTENSIONS + 1):
        header = _header(raw, position)
        type_ = header[156:157]
        size = _number(header[124:136], position)
        data = position + BLOCK
        if type_ not in EXTENSIONS:
            return _member(raw, start, position, header, pax)
        if size > MAX_EXTENSION or data + size > len(raw):
            raise DamagedFileError("an extended header is too large", where=f"byte {position}")
        pax |= _extension(type_, raw[data : data + size], position)
        position = data + size + -size % BLOCK
    raise DamagedFileError("too many extended headers in a row", where=f"byte {start}")


def _member(raw: bytes, start: int, position: int, header: bytes, pax: Mapping[str, str]) -> Member:
    """The member whose own ``header`` is at ``position``, its extended headers already read."""
    name = pax.get("path") or _header_name(header)
    if len(name) > MAX_NAME:
        raise DamagedFileError(
            f"a name is longer than {MAX_NAME} characters", where=f"byte {start}"
        )
    type_ = header[156:157]
    size = _number(header[124:136], position)
    if "size" in pax:
        if not re.fullmatch(r"[0-9]{1,15}", pax["size"]):
            raise DamagedFileError("the size is not a number", where=shown(name))
        size = int(pax["size"])
    if type_ not in REGULAR + WITHOUT_DATA:
        raise DamagedFileError(f"a package has no members of type {type_!r}", where=shown(name))
    if type_ in WITHOUT_DATA and size:
        raise DamagedFileError("a link, directory or device has contents", where=shown(name))
    data = position + BLOCK
    end = data + size + -size % BLOCK
    if end > len(raw):
        raise DamagedFileError(
            f"its {size} bytes go past the end of the archive", where=shown(name)
        )
    is_plain = "size" not in pax and not any(key.startswith("GNU.sparse.") for key in pax)
    link = pax.get("linkpath") or _text(header[157:257])
    return Member(name, link, type_, start, position, data, size, end, is_plain)


def _header(raw: bytes, position: int) -> bytes:
    """The header block at ``position``, its checksum right."""
    header = raw[position : position + BLOCK]
    if len(header) < BLOCK:
        raise DamagedFileError("the archive is cut short", where=f"byte {position}")
    if _number(header[148:156], position) != _checksum(header):
        raise DamagedFileError("not a tar header (wrong checksum)", where=f"byte {position}")
    return header


def _checksum(header: bytes) -> int:
    """Sum of all bytes, the checksum field itself counted as spaces."""
    return sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")


def _number(field: bytes, position: int) -> int:
    """An octal field. The base-256 form is for 8 GiB and more, or for tricks: refused."""
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise DamagedFileError("a field is not an octal number", where=f"byte {position}")
    return int(digits or b"0", 8)


def _header_name(header: bytes) -> str:
    """The name field; with the prefix field when the header is POSIX's, not GNU's."""
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _extension(type_: bytes, body: bytes, position: int) -> dict[str, str]:
    """What an extended header says about the member behind it, in the words of pax."""
    if type_ == GNU_LONG_NAME:
        return {"path": _text(body)}
    if type_ == GNU_LONG_LINK:
        return {"linkpath": _text(body)}
    records = _pax_records(body, position)
    if type_ == PAX:
        return records
    if records.keys() & {"path", "linkpath", "size"}:
        raise DamagedFileError("a global header names a file", where=f"byte {position}")
    return {}


def _pax_records(body: bytes, position: int) -> dict[str, str]:
    r"""Records ``LENGTH KEY=VALUE\n``, where LENGTH counts the whole record."""
    records: dict[str, str] = {}
    at = 0
    while at < len(body):
        match = re.compile(rb"([0-9]{1,7}) ([^=\0\n]+)=").match(body, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(body) or body[end - 1 : end] != b"\n":
            raise DamagedFileError("a pax header is malformed", where=f"byte {position}")
        key = match[2].decode("utf-8", "surrogateescape")
        value = body[match.end() : end - 1]
        if b"\0" in value and key in ("path", "linkpath"):
            raise DamagedFileError("a name holds a zero byte", where=f"byte {position}")
        records[key] = value.decode("utf-8", "surrogateescape")
        at = end
    return records


def _resize(header: bytes, size: int) -> bytes:
    """The header block with another size, and the checksum that belongs to it."""
    resized = header[:124] + _octal_like(header[124:136], size) + header[136:]
    checksum = _octal_like(header[148:156], _checksum(resized))
    return resized[:148] + checksum + resized[156:]


def _octal_like(field: bytes, value: int) -> bytes:
    """``value`` in octal, filled and ended as the old ``field`` is."""
    match = re.fullmatch(rb"( *)([0-7]+)([ \0]*)", field)
    fill = b" " if match and match[1] else b"0"
    tail = match[3] if match else b" "
    digits = b"%o" % value
    if len(digits) + len(tail) > len(field):
        tail = tail[-1:]
    return digits.rjust(len(field) - len(tail), fill) + tail


def _is_zero(raw: bytes, start: int, end: int) -> bool:
    part = raw[start:end]
    return part.count(0) == len(part)
