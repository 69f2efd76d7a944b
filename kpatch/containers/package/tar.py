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
from kpatch.containers.package.tar_header import BLOCK, TarHeader, read_header
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk
from kpatch.units import counted

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
            raise DamagedFileError(
                "has its size in an extended header",
                where=shown(member.name),
                todo="extract the module and patch it by itself",
            )
        yield from archive.raw.pieces(start, member.header)
        yield read_header(archive.raw, member.header).resized(len(new))
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
        header = read_header(raw, position)
        data = position + BLOCK
        if header.type not in EXTENSIONS:
            return _member(raw, start, header, told_by(extensions, is_gnu=header.is_gnu))
        size = header.size
        if size > MAX_EXTENSION or data + size > raw.size:
            raise DamagedFileError(
                f"an extended header has more than {MAX_EXTENSION >> 20} MiB, or is cut short",
                where=f"byte {position}",
            )
        extensions.append(Extension(header.type, raw.part(data, data + size), position))
        position = data + size + -size % BLOCK
    raise DamagedFileError("too many extended headers in a row", where=f"byte {start}")


def _member(raw: Bulk, start: int, header: TarHeader, told: Mapping[str, str]) -> Member:
    """The member with this ``header``, of which the extended ones have ``told`` more."""
    own_name = header.name
    name = told.get("path", own_name)
    if len(name) > MAX_NAME:
        raise DamagedFileError(
            f"a name is longer than {MAX_NAME} characters", where=f"byte {start}"
        )
    type_, size = header.type, header.size
    if "size" in told:
        if not re.fullmatch(r"[0-9]{1,15}", told["size"]):
            raise DamagedFileError("the size is not a number", where=shown(name))
        size = int(told["size"])
    own_link = header.link
    _require_one_kind(name, type_, size, own_link, told)
    if type_ == b"\0" and name.endswith("/") != own_name.endswith("/"):
        raise DamagedFileError("one of its two names is that of a folder", where=shown(name))
    data = header.position + BLOCK
    end = data + size + -size % BLOCK
    if end > raw.size:
        what = f"its {counted(size, 'byte')} go past the end of the archive"
        raise DamagedFileError(what, where=shown(name))
    link = told.get("linkpath", own_link)
    return Member(name, link, type_, start, header.position, data, size, end, "size" not in told)


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
