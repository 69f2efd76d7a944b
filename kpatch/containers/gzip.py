"""Modules in gzip files (``kqemu.ko.gz``): the FreeBSD loader reads them as they are.

The header of the original (name, time, system) is kept, so the same input gives the same output.
A patched file also says, in an extra field of the header (RFC 1952, 2.3.1.1), with which settings
of zlib the original came out, and its SHA-256; so taking the patch back gives the original's bytes,
wherever zlib made them, and knows whether it did.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from kpatch.containers.compression import MAGICS, Compression
from kpatch.digest import digest
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import PIECE, Bulk, is_made_of

GZIP_MAGIC: Final = MAGICS[Compression.GZIP]
MOST_BYTES: Final = 32 << 20
"""The largest module that is unpacked; a real one has under a megabyte."""
MOST_TEXTS: Final = 4 << 20
"""The longest name and comment of a header, together; real ones have some ten bytes."""

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_FIXED: Final = struct.Struct("<3sBIBB")
_TRAILER: Final = struct.Struct("<II")
_FIELD: Final = struct.Struct("<2sHBBB32s")
_FIELD_NAME: Final = b"KP"
_FIRST_FIELD: Final = struct.Struct("<2sHBBB")
"""That of earlier builds, without the SHA-256: what it gives back is never known to be exact."""
_MOST_EXTRA: Final = 0xFFFF
_LONGEST: Final = _FIXED.size + 2 + _MOST_EXTRA + MOST_TEXTS + 4
"""What a header has at most, with the ends of its texts and its checksum."""


class GzipSettings(NamedTuple):
    """How an original was written: zlib's two levels, and whether it had an extra field.

    ``sha256`` is that of the original, empty where nobody said it.
    """

    level: int
    memory: int
    had_extra: bool
    sha256: bytes = b""


_DEFAULT: Final = GzipSettings(9, 8, False)


@dataclass(frozen=True, slots=True)
class GzipHeader:
    """What stands in front of the first member. ``size`` is in bytes, all of it."""

    flags: int
    time: int
    extra_flags: int
    system: int
    extra: bytes
    name: bytes
    comment: bytes
    size: int


@dataclass(frozen=True, slots=True)
class GzipFile:
    """A gzip file: its header, its payload (of all members), and its bytes.

    Whether the last field of ``header.extra`` is ours is known only to who knows the payload.
    """

    header: GzipHeader
    payload: bytes
    data: bytes


def read_header(data: Bulk | bytes) -> GzipHeader:
    """The header of the first member (RFC 1952, 2.3). Raises DamagedFileError."""
    whole = Bulk.of(data)
    try:
        header = _read_header(whole.part(0, _LONGEST))
    except (struct.error, ValueError) as error:
        if whole.size > _LONGEST:
            raise _too_long() from None
        raise DamagedFileError("its gzip header is cut short", todo="get the file again") from error
    if len(header.name) + len(header.comment) > MOST_TEXTS:
        raise _too_long()
    return header


def _too_long() -> DamagedFileError:
    return DamagedFileError(
        f"the name and the comment in its gzip header have more than {MOST_TEXTS >> 20} MiB",
        todo="unpack it by hand and compress it again, if you trust it",
    )


def _read_header(data: bytes) -> GzipHeader:
    _, flags, time, extra_flags, system = _FIXED.unpack_from(data)
    at = _FIXED.size
    extra = b""
    if flags & _FEXTRA:
        (length,) = struct.unpack_from("<H", data, at)
        extra = data[at + 2 : at + 2 + length]
        at += 2 + length
    name, at = _text(data, at) if flags & _FNAME else (b"", at)
    comment, at = _text(data, at) if flags & _FCOMMENT else (b"", at)
    at += 2 if flags & _FHCRC else 0
    if at > len(data):
        raise ValueError("it is cut short")
    return GzipHeader(flags, time, extra_flags, system, extra, name, comment, at)


def patched_gzip(original: GzipFile, payload: bytes) -> bytes:
    """``original`` with a patched payload. It names the settings that the original came out of."""
    settings, header = _settings_of(original), original.header
    if settings is not None:
        field = _FIELD.pack(_FIELD_NAME, _FIELD.size - 4, *settings)
        header = replace(header, extra=header.extra + field, flags=header.flags | _FEXTRA)
    return _write(header, payload, _DEFAULT)


def original_gzip(patched: GzipFile, payload: bytes) -> tuple[bytes, bool]:
    """``patched`` with its original's payload, written with the settings that it names.

    And whether that is the original file, byte for byte, as its SHA-256 says. A field of our name
    may be another program's, and another zlib may make other bytes.
    """
    settings, extra = _named(patched.header)
    flags = patched.header.flags if settings.had_extra else patched.header.flags & ~_FEXTRA
    made = _write(replace(patched.header, extra=extra, flags=flags), payload, settings)
    return made, bytes.fromhex(digest(made)) == settings.sha256


def comes_back(original: GzipFile) -> bool:
    """True if taking a patch back will give this file byte for byte, not only its payload."""
    return _settings_of(original) is not None


def compress(payload: Bulk) -> Iterator[bytes]:
    """A gzip file without name and time, in pieces: the same payload gives the same bytes."""
    yield _packed(GzipHeader(0, 0, 2, 255, b"", b"", b"", 0))
    yield from _member(payload.pieces(), _DEFAULT)


def _settings_of(original: GzipFile) -> GzipSettings | None:
    """The settings that give these very bytes, or None where zlib does not make them."""
    header = original.header
    if len(header.extra) + _FIELD.size > _MOST_EXTRA:
        return None
    had_extra = bool(header.flags & _FEXTRA)
    for memory in (8, 9):
        for level in range(9, -1, -1):
            settings = GzipSettings(level, memory, had_extra)
            if _is_written(original, settings):
                return settings._replace(sha256=bytes.fromhex(digest(original.data)))
    return None


def _is_written(file: GzipFile, settings: GzipSettings) -> bool:
    """Whether these settings give the bytes of ``file``. The first piece that does not ends it."""
    return is_made_of(Bulk(file.data), _written(file.header, file.payload, settings))


def _write(header: GzipHeader, payload: bytes, settings: GzipSettings) -> bytes:
    return Bulk.join(_written(header, payload, settings)).whole()


def _written(header: GzipHeader, payload: bytes, settings: GzipSettings) -> Iterator[bytes]:
    yield _packed(header)
    # Blocks of level 0, alone, depend on how much zlib is given at once.
    step = PIECE if settings.level else max(len(payload), 1)
    yield from _member((payload[at : at + step] for at in range(0, len(payload), step)), settings)


def _packed(header: GzipHeader) -> bytes:
    flags, extra = header.flags, header.extra
    written = _FIXED.pack(GZIP_MAGIC, flags, header.time, header.extra_flags, header.system)
    written += struct.pack("<H", len(extra)) + extra if flags & _FEXTRA else b""
    written += header.name + b"\0" if flags & _FNAME else b""
    written += header.comment + b"\0" if flags & _FCOMMENT else b""
    # RFC 1952, 2.3.1: the low half of the header's CRC-32.
    written += struct.pack("<H", zlib.crc32(written) & 0xFFFF) if flags & _FHCRC else b""
    return written


def _member(payload: Iterable[bytes], settings: GzipSettings) -> Iterator[bytes]:
    """What stands behind the header: the pieces of ``payload`` deflated, their CRC-32 and size."""
    deflater = zlib.compressobj(settings.level, zlib.DEFLATED, -15, settings.memory)
    checksum = size = 0
    for piece in payload:
        checksum, size = zlib.crc32(piece, checksum), size + len(piece)
        yield deflater.compress(piece)
    yield deflater.flush() + _TRAILER.pack(checksum, size & 0xFFFFFFFF)


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _named(header: GzipHeader) -> tuple[GzipSettings, bytes]:
    """What the last field of ``header`` names, and the original's extra field without it.

    Without one of ours, what is usual.
    """
    for form in (_FIELD, _FIRST_FIELD):
        at = len(header.extra) - form.size
        if at < 0:
            continue
        name, length, level, memory, had_extra, *sums = form.unpack_from(header.extra, at)
        is_ours = name == _FIELD_NAME and length == form.size - 4
        if is_ours and level <= 9 and 1 <= memory <= 9 and had_extra <= 1:
            return GzipSettings(level, memory, bool(had_extra), *sums), header.extra[:at]
    return _DEFAULT._replace(had_extra=bool(header.flags & _FEXTRA)), header.extra
