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
from typing import Final

from kpatch.errors import DamagedFileError

MAGIC: Final = b"\x1f\x8b\x08"
MOST_BYTES: Final = 64 << 20
"""The largest module that is inflated; a real one has under a megabyte."""

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_FIXED: Final = struct.Struct("<3sBIBB")
_TRAILER: Final = struct.Struct("<II")
_FIELD: Final = b"KP"
_DEFAULT: Final = (9, 8)


@dataclass(frozen=True, slots=True)
class GzipFile:
    """A gzip file of one member: its payload, and what its header says besides.

    ``settings`` are zlib's level and memory level that a patched file names for its original.
    """

    payload: bytes
    flags: int
    time: int
    extra_flags: int
    system: int
    extra: bytes
    name: bytes
    comment: bytes
    settings: tuple[int, int] | None
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
    at += 2 if flags & _FHCRC else 0
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
    compressed with them.
    """
    if patched:
        settings = original.settings or _settings_of(original)
        return _write(replace(original, payload=payload, settings=settings), _DEFAULT)
    return _write(replace(original, payload=payload, settings=None), original.settings or _DEFAULT)


def comes_back(original: GzipFile) -> bool:
    """True if taking a patch back will give this file byte for byte, not only its payload."""
    return (original.settings or _settings_of(original)) is not None


def compress(payload: bytes) -> bytes:
    """A gzip file without name and time: the same payload gives the same bytes."""
    return _write(GzipFile(payload, 0, 0, 2, 255, b"", b"", b"", None, b""), _DEFAULT)


def _settings_of(original: GzipFile) -> tuple[int, int] | None:
    for settings in ((level, memory) for memory in (8, 9) for level in range(9, -1, -1)):
        if original.deflated and _deflate(original.payload, settings) == original.deflated:
            return settings
    return None


def _write(file: GzipFile, settings: tuple[int, int]) -> bytes:
    extra = file.extra
    if file.settings is not None:
        extra += _FIELD + struct.pack("<HBB", 2, *file.settings)
    flags = file.flags & ~(_FEXTRA | _FHCRC) | (_FEXTRA if extra else 0)
    header = _FIXED.pack(MAGIC, flags, file.time, file.extra_flags, file.system)
    if extra:
        header += struct.pack("<H", len(extra)) + extra
    header += file.name + b"\0" if flags & _FNAME else b""
    header += file.comment + b"\0" if flags & _FCOMMENT else b""
    trailer = _TRAILER.pack(zlib.crc32(file.payload), len(file.payload) & 0xFFFFFFFF)
    return header + _deflate(file.payload, settings) + trailer


def _deflate(payload: bytes, settings: tuple[int, int]) -> bytes:
    level, memory = settings
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
    return deflater.compress(payload) + deflater.flush()


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _split_extra(extra: bytes) -> tuple[bytes, tuple[int, int] | None]:
    mark = _FIELD + struct.pack("<H", 2)
    at = len(extra) - len(mark) - 2
    if at >= 0 and extra[at : at + len(mark)] == mark:
        level, memory = extra[-2], extra[-1]
        if level > 9 or not 1 <= memory <= 9:
            raise ValueError("the settings in its header are out of range")
        return extra[:at], (level, memory)
    return extra, None
