"""The header block of a member of a tar archive: what its fields say, and another size in it.

POSIX.1-2017, pax, "ustar Interchange Format"; the older forms of V7 and GNU tar are read, too.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

import re
from typing import Final, NamedTuple

from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk

BLOCK: Final = 512

_OTHER_NUMBERS: Final = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148))
_OCTAL: Final = re.compile(rb" *[0-7]*[ \0]*|[\x80\xff].*", re.DOTALL)
"""Mode, user, group and time: in octal or GNU's base 256, or other readers take no header there."""

_POSIX: Final = b"ustar\x0000"
_GNU: Final = b"ustar  \0"
_V7: Final = bytes(8)


class TarHeader(NamedTuple):
    """A header block whose checksum is right, at byte ``position`` of the archive."""

    block: bytes
    position: int

    @property
    def type(self) -> bytes:
        """The one byte that says what kind of member it is."""
        return self.block[156:157]

    @property
    def is_gnu(self) -> bool:
        """Whether it has GNU tar's form, not POSIX's."""
        return self.block[257:265] == _GNU

    @property
    def size(self) -> int:
        """Bytes of contents. Raises DamagedFileError for what is no plain octal number."""
        return _number(self.block[124:136], self.position)

    @property
    def link(self) -> str:
        """What a link leads to."""
        return _text(self.block[157:257])

    @property
    def name(self) -> str:
        """The name field; with the prefix field when the header is POSIX's, not GNU's.

        Readers differ in what they take for a prefix, so where a header of another form has
        something in that place DamagedFileError is raised.
        """
        magic, where = self.block[257:265], f"byte {self.position}"
        if magic not in (_POSIX, _GNU, _V7):
            raise DamagedFileError("not the header of a known tar format", where=where)
        unused = self.block[500:] if magic == _POSIX else self.block[345:]
        if unused.count(0) != len(unused):
            raise DamagedFileError(
                "a header has something where its format has nothing", where=where
            )
        name = _text(self.block[:100])
        prefix = _text(self.block[345:500]) if magic == _POSIX else ""
        return f"{prefix}/{name}" if prefix else name

    def resized(self, size: int) -> bytes:
        """The block with another size, and the checksum that belongs to it."""
        resized = self.block[:124] + _octal_like(self.block[124:136], size) + self.block[136:]
        checksum = _octal_like(self.block[148:156], _checksum(resized))
        return resized[:148] + checksum + resized[156:]


def read_header(raw: Bulk, position: int) -> TarHeader:
    """The header block at ``position``.

    Raises DamagedFileError where the archive ends in it, its checksum is wrong, or other readers
    would take no header there.
    """
    header = raw.part(position, position + BLOCK)
    if len(header) < BLOCK:
        raise DamagedFileError("the archive is cut short", where=f"byte {position}")
    if _number(header[148:156], position) != _checksum(header):
        raise DamagedFileError("not a tar header (wrong checksum)", where=f"byte {position}")
    if not all(_OCTAL.fullmatch(header[field]) for field in _OTHER_NUMBERS):
        raise DamagedFileError("a field is not an octal number", where=f"byte {position}")
    return TarHeader(header, position)


def _checksum(header: bytes) -> int:
    """Sum of all bytes, the checksum field itself counted as spaces."""
    return sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")


def _number(field: bytes, position: int) -> int:
    """An octal field. The base-256 form is for 8 GiB and more, or for tricks: refused."""
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise DamagedFileError("a field is not an octal number", where=f"byte {position}")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _octal_like(field: bytes, value: int) -> bytes:
    """``value`` in octal, filled and ended as the old ``field`` is."""
    match = re.fullmatch(rb"( *)([0-7]+)([ \0]*)", field)
    fill = b" " if match and match[1] else b"0"
    tail = match[3] if match else b" "
    digits = b"%o" % value
    if len(digits) + len(tail) > len(field):
        tail = tail[-1:]
    return digits.rjust(len(field) - len(tail), fill) + tail
