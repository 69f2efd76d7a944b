"""Modules in gzip files (``kqemu.ko.gz``): the FreeBSD loader reads them as they are.

The header of the original (name, time, system) is kept, so the same input gives the same output.
A patched file also says, in an extra field of the header (RFC 1952, 2.3.1.1), with which settings
of zlib the original came out; so taking the patch back gives the original's bytes, wherever zlib
made them.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from kpatch.errors import DamagedFileError

MAGIC: Final = b"\x1f\x8b\x08"
MOST_BYTES: Final = 64 << 20
"""The largest module that is inflated; a real one has under a megabyte."""

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_FIXED: Final = struct.Struct("<3sBIBB")
_TRAILER: Final = struct.Struct("<II")
_FIELD: Final = struct.Struct("<2sHBBB")
_FIELD_NAME: Final = b"KP"
_MOST_EXTRA: Final = 0xFFFF


class Settings(NamedTuple):
    """How an original was written: zlib's two levels, and whether it had an extra field."""

    level: int
    memory: int
    had_extra: bool


_DEFAULT: Final = Settings(9, 8, False)


@dataclass(frozen=True, slots=True)
class GzipFile:
    """A gzip file of one member: its payload, and what its header says besides.

    ``settings`` are those that a patched file names for its original.
    """

    payload: bytes
    flags: int
    time: int
    extra_flags: int
    system: int
    extra: bytes
    name: bytes
    comment: bytes
    settings: Settings | None
    deflated: bytes


def is_gzip(data: bytes) -> bool:
    """True for anything that starts like a gzip file."""
    return data.startswith(MAGIC)


def read_gzip(data: bytes, name: str = "") -> GzipFile:
    """Read a gzip file of one member. Raises DamagedFileError, said of ``name``."""
    try:
        return _read(data)
    except (struct.error, ValueError, zlib.error) as error:
        raise DamagedFileError(
            f"its gzip data does not read: {error}", where=name, todo="get the file again"
        ) from error


def _read(data: bytes) -> GzipFile:
    _, flags, time, extra_flags, system = _FIXED.unpack_from(data)
    if flags & ~(_FHCRC | _FEXTRA | _FNAME | _FCOMMENT | 1):
        raise ValueError("reserved flags are set")
    at = _FIXED.size
    extra = b""
    if flags & _FEXTRA:
        (length,) = struct.unpack_from("<H", data, at)
        extra = data[at + 2 : at + 2 + length]
        at += 2 + length
    name, at = _text(data, at) if flags & _FNAME else (b"", at)
    comment, at = _text(data, at) if flags & _FCOMMENT else (b"", at)
    at = _after_checksum(data, at) if flags & _FHCRC else at
    inflater = zlib.decompressobj(-15)
    payload = inflater.decompress(data[at:], MOST_BYTES)
    if inflater.unconsumed_tail or not inflater.eof:
        raise ValueError(f"cut off, or more than {MOST_BYTES >> 20} MiB")
    if len(inflater.unused_data) != _TRAILER.size:
        raise ValueError("something follows the compressed data")
    crc, size = _TRAILER.unpack(inflater.unused_data)
    if crc != zlib.crc32(payload) or size != len(payload) & 0xFFFFFFFF:
        raise ValueError("the checksum is wrong")
    kept, settings = _split_extra(extra)
    deflated = data[at : len(data) - _TRAILER.size]
    return GzipFile(
        payload, flags, time, extra_flags, system, kept, name, comment, settings, deflated
    )


def with_payload(original: GzipFile, payload: bytes, *, patched: bool) -> bytes:
    """``original`` with another payload.

    A patched one names the settings that its original came out of; one that is taken back is
    written with them.
    """
    changed = replace(original, payload=payload)
    if patched:
        settings = original.settings or _settings_of(original)
        return _write(replace(changed, settings=settings), _DEFAULT)
    settings = original.settings
    if settings is None:
        return _write(changed, _DEFAULT)
    flags = original.flags | _FEXTRA if settings.had_extra else original.flags & ~_FEXTRA
    return _write(replace(changed, flags=flags, settings=None), settings)


def comes_back(original: GzipFile) -> bool:
    """True if taking a patch back will give this file byte for byte, not only its payload."""
    return (original.settings or _settings_of(original)) is not None


def compress(payload: bytes) -> bytes:
    """A gzip file without name and time: the same payload gives the same bytes."""
    return _write(GzipFile(payload, 0, 0, 2, 255, b"", b"", b"", None, b""), _DEFAULT)


def _settings_of(original: GzipFile) -> Settings | None:
    """The settings that give these very bytes, or None where zlib does not make them."""
    if len(original.extra) + _FIELD.size > _MOST_EXTRA:
        return None
    had_extra = bool(original.flags & _FEXTRA)
    for memory in (8, 9):
        for level in range(9, -1, -1):
            settings = Settings(level, memory, had_extra)
            if _deflate(original.payload, settings) == original.deflated:
                return settings
    return None


def _write(file: GzipFile, settings: Settings) -> bytes:
    extra, flags = file.extra, file.flags
    if file.settings is not None:
        extra += _FIELD.pack(_FIELD_NAME, _FIELD.size - 4, *file.settings)
        flags |= _FEXTRA
    header = _FIXED.pack(MAGIC, flags, file.time, file.extra_flags, file.system)
    header += struct.pack("<H", len(extra)) + extra if flags & _FEXTRA else b""
    header += file.name + b"\0" if flags & _FNAME else b""
    header += file.comment + b"\0" if flags & _FCOMMENT else b""
    header += _checksum(header) if flags & _FHCRC else b""
    trailer = _TRAILER.pack(zlib.crc32(file.payload), len(file.payload) & 0xFFFFFFFF)
    return header + _deflate(file.payload, settings) + trailer


def _deflate(payload: bytes, settings: Settings) -> bytes:
    deflater = zlib.compressobj(settings.level, zlib.DEFLATED, -15, settings.memory)
    return deflater.compress(payload) + deflater.flush()


def _checksum(header: bytes) -> bytes:
    """The checksum of a header. RFC 1952, 2.3.1: the low half of its CRC-32."""
    return struct.pack("<H", zlib.crc32(header) & 0xFFFF)


def _after_checksum(data: bytes, at: int) -> int:
    if data[at : at + 2] != _checksum(data[:at]):
        raise ValueError("the checksum of its header is wrong")
    return at + 2


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _split_extra(extra: bytes) -> tuple[bytes, Settings | None]:
    at = len(extra) - _FIELD.size
    if at < 0:
        return extra, None
    name, length, level, memory, had_extra = _FIELD.unpack_from(extra, at)
    if name != _FIELD_NAME or length != _FIELD.size - 4:
        return extra, None
    if level > 9 or not 1 <= memory <= 9 or had_extra > 1:
        raise ValueError("the settings in its header are out of range")
    return extra[:at], Settings(level, memory, bool(had_extra))
