"""A tar archive as it lies in the file: members with their exact bytes.

Python's own tarfile reads archives and writes new ones; it cannot change one member and keep
every other byte. Here a member keeps the offsets of all its blocks, so that ``replace`` copies
what does not change as it is. The format is POSIX.1-2017, pax, "pax Interchange Format" and
"ustar Interchange Format", with GNU's long names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kpatch.containers.compression import RECORD
from kpatch.containers.package.pax import EXTENSIONS, Extension, told_by
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk

BLOCK: Final = 512
END_BLOCKS: Final = 2 * BLOCK
MAX_MEMBERS: Final = 100_000
MAX_EXTENSION: Final = 1 << 20
"""Size of one extended header. Those of real packages are under 1 kB."""
MAX_EXTENSIONS: Final = 8
MAX_ALL_EXTENSIONS: Final = 8 << 20
"""Size of all extended headers of an archive together."""
MAX_CONTENTS: Final = 32 << 20
"""Size of a member that is taken into memory: a module. A real one has under a megabyte."""
MAX_NAME: Final = 1024
"""PATH_MAX of FreeBSD (sys/syslimits.h)."""
MAX_SHOWN: Final = 160

REGULAR: Final = (b"0", b"\0", b"7")
HARD_LINK: Final = b"1"
SYMBOLIC_LINK: Final = b"2"
DIRECTORY: Final = b"5"
WITHOUT_DATA: Final = (HARD_LINK, SYMBOLIC_LINK, b"3", b"4", DIRECTORY, b"6")

_OTHER_NUMBERS: Final = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148))
_OCTAL: Final = re.compile(rb" *[0-7]*[ \0]*|[\x80\xff].*", re.DOTALL)
"""Mode, user, group and time: in octal or GNU's base 256, or other readers take no header there."""

_POSIX: Final = b"ustar\x0000"
_GNU: Final = b"ustar  \0"
_V7: Final = bytes(8)


@dataclass(frozen=True, slots=True)
class Member:
    """One member. Offsets are bytes from the start of the (uncompressed) archive.

    ``start`` is where its first extended header begins, ``header`` its own header block,
    ``data`` its contents of ``size`` bytes, ``end`` the next member. ``is_plain`` says that
    the size stands in the header block alone.
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

    raw: Bulk
    members: tuple[Member, ...]
    end: int

    def contents(self, member: Member) -> bytes:
        """The bytes of a regular member. Raises DamagedFileError above MAX_CONTENTS bytes."""
        if member.size > MAX_CONTENTS:
            raise DamagedFileError(
                f"has more than {MAX_CONTENTS >> 20} MiB",
                where=shown(member.name),
                todo="extract it, and give it by itself",
            )
        return self.raw.part(member.data, member.data + member.size)


def read(raw: Bulk) -> TarArchive:
    """Read all headers of ``raw``.

    Raises DamagedFileError for anything that two readers could take differently: a wrong
    checksum, a size that is no plain octal number or goes past the end, contents on a link,
    a sparse file, a second source of a name, no end mark, bytes behind it.
    """
    members: list[Member] = []
    position = extensions = 0
    while not raw.is_zero(position, position + BLOCK):
        if len(members) == MAX_MEMBERS:
            raise DamagedFileError(f"holds more than {MAX_MEMBERS} members")
        members.append(_read_member(raw, position))
        extensions += members[-1].header - members[-1].start
        if extensions > MAX_ALL_EXTENSIONS:
            raise DamagedFileError(
                f"its extended headers have more than {MAX_ALL_EXTENSIONS >> 20} MiB"
            )
        position = members[-1].end
    if raw.size - position < END_BLOCKS or not raw.is_zero(position):
        raise DamagedFileError(
            "the archive does not end with two zero blocks and nothing but zeros behind them",
            where=f"byte {position}",
            todo="get the file again",
        )
    return TarArchive(raw, tuple(members), position)


def replace(archive: TarArchive, contents: Mapping[str, bytes]) -> Iterator[bytes]:
    """The archive with new contents for the named members, in pieces.

    Only the contents, their padding, and the size and checksum in the headers of these
    members change. The end of the archive keeps its form. Raises DamagedFileError when a
    member's size is not written in its header block alone.
    """
    start = growth = 0
    for member in archive.members:
        new = contents.get(member.name)
        if new is None:
            continue
        if not (member.is_regular and member.is_plain):
            raise DamagedFileError("has its size in an extended header", where=shown(member.name))
        yield from archive.raw.pieces(start, member.header)
        yield _resize(archive.raw.part(member.header, member.data), len(new))
        yield new + bytes(-len(new) % BLOCK)
        start = member.end
        growth += len(new) + -len(new) % BLOCK - (member.end - member.data)
    yield from archive.raw.pieces(start, archive.end)
    yield bytes(_end_size(archive, archive.end + growth))


def shown(name: str) -> str:
    """A name as it may be printed: not long, no control characters, nothing that is no text."""
    if len(name) > MAX_SHOWN:
        name = f"{name[: MAX_SHOWN // 2]}...{name[-MAX_SHOWN // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _end_size(archive: TarArchive, body: int) -> int:
    """Zeros to put behind ``body`` bytes of members, in the form the archive has.

    Either exactly two blocks (libarchive into a compressor), or filled up to a record (tar),
    or something else, which is kept. A filled-up end that happens to be two blocks gets one
    record more, so that the form can still be told when the change is undone.
    """
    old = archive.raw.size - archive.end
    is_filled = archive.raw.size % RECORD == 0 and END_BLOCKS < old <= END_BLOCKS + RECORD
    if not is_filled:
        return old
    fill = END_BLOCKS + -(body + END_BLOCKS) % RECORD
    return fill + RECORD if fill == END_BLOCKS else fill


def _read_member(raw: Bulk, start: int) -> Member:
    """The member whose first header, extended or not, is at ``start``."""
    extensions: list[Extension] = []
    position = start
    for _ in range(MAX_EXTENSIONS + 1):
        header = _header(raw, position)
        type_ = header[156:157]
        data = position + BLOCK
        if type_ not in EXTENSIONS:
            told = told_by(extensions, is_gnu=header[257:265] == _GNU)
            return _member(raw, start, position, header, told)
        size = _number(header[124:136], position)
        if size > MAX_EXTENSION or data + size > raw.size:
            raise DamagedFileError(
                f"an extended header has more than {MAX_EXTENSION >> 20} MiB, or is cut short",
                where=f"byte {position}",
            )
        extensions.append(Extension(type_, raw.part(data, data + size), position))
        position = data + size + -size % BLOCK
    raise DamagedFileError("too many extended headers in a row", where=f"byte {start}")


def _member(raw: Bulk, start: int, position: int, header: bytes, told: Mapping[str, str]) -> Member:
    """The member whose own ``header`` is at ``position``, its extended headers already read."""
    own_name = _header_name(header, position)
    name = told.get("path", own_name)
    if len(name) > MAX_NAME:
        raise DamagedFileError(
            f"a name is longer than {MAX_NAME} characters", where=f"byte {start}"
        )
    type_ = header[156:157]
    size = _number(header[124:136], position)
    if "size" in told:
        if not re.fullmatch(r"[0-9]{1,15}", told["size"]):
            raise DamagedFileError("the size is not a number", where=shown(name))
        size = int(told["size"])
    own_link = _text(header[157:257])
    _require_one_kind(name, type_, size, own_link, told)
    if type_ == b"\0" and name.endswith("/") != own_name.endswith("/"):
        raise DamagedFileError("one of its two names is that of a folder", where=shown(name))
    data = position + BLOCK
    end = data + size + -size % BLOCK
    if end > raw.size:
        what = f"its {size} bytes go past the end of the archive"
        raise DamagedFileError(what, where=shown(name))
    link = told.get("linkpath", own_link)
    return Member(name, link, type_, start, position, data, size, end, "size" not in told)


def _require_one_kind(
    name: str, type_: bytes, size: int, link: str, told: Mapping[str, str]
) -> None:
    """Refuse what one reader takes for a file, and another for a folder or a link."""
    if type_ not in REGULAR + WITHOUT_DATA:
        raise DamagedFileError(f"a package has no members of type {type_!r}", where=shown(name))
    if type_ in WITHOUT_DATA and size:
        raise DamagedFileError("a link, directory or device has contents", where=shown(name))
    is_link = type_ in (HARD_LINK, SYMBOLIC_LINK)
    if (is_link and not link) or ("linkpath" in told and not is_link):
        raise DamagedFileError("a link without a target, or the reverse", where=shown(name))
    # Old archives mark a folder by its name alone (type NUL); what else ends so is in doubt.
    if name.endswith("/") and type_ != DIRECTORY and (type_ != b"\0" or size):
        raise DamagedFileError("a file with the name of a folder", where=shown(name))


def _header(raw: Bulk, position: int) -> bytes:
    """The header block at ``position``, its checksum right."""
    header = raw.part(position, position + BLOCK)
    if len(header) < BLOCK:
        raise DamagedFileError("the archive is cut short", where=f"byte {position}")
    if _number(header[148:156], position) != _checksum(header):
        raise DamagedFileError("not a tar header (wrong checksum)", where=f"byte {position}")
    if not all(_OCTAL.fullmatch(header[field]) for field in _OTHER_NUMBERS):
        raise DamagedFileError("a field is not an octal number", where=f"byte {position}")
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


def _header_name(header: bytes, position: int) -> str:
    """The name field; with the prefix field when the header is POSIX's, not GNU's.

    Readers differ in what they take for a prefix, so where a header of another form has something
    in that place it is refused.
    """
    magic = header[257:265]
    if magic not in (_POSIX, _GNU, _V7):
        raise DamagedFileError("not the header of a known tar format", where=f"byte {position}")
    unused = header[500:] if magic == _POSIX else header[345:]
    if unused.count(0) != len(unused):
        raise DamagedFileError(
            "a header has something where its format has nothing", where=f"byte {position}"
        )
    name = _text(header[:100])
    prefix = _text(header[345:500]) if magic == _POSIX else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


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
