"""Compressing a changed file the way the original was compressed.

The program and the level that made a file are written nowhere. They are found by trying:
the encoder that turns the original contents into exactly the original bytes is the one to
use again. libbz2, liblzma and zlib give the same bytes in every version in use, so packages
made by FreeBSD's tar and pkg are found. GNU gzip has a deflate of its own, and zstd changes
from version to version; such files come out with other compressed bytes around the same
contents.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from kpatch.containers.compression import RECORD, Compression, skip_frames
from kpatch.containers.gzip import read_header
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk, end_of, is_made_of

_LITTLE: Final = 4 << 20
"""What may be in memory at once, whatever it is."""

TRIAL_BYTES: Final = {
    Compression.NONE: 0,
    Compression.BZIP2: 0,
    Compression.GZIP: 4 << 20,
    Compression.XZ: 1 << 20,
    Compression.ZSTD: 1 << 20,
}
"""How much to compress, all trials together, in search of an encoder that is not the usual one. A
MiB costs xz and zstd up to a second, gzip a tenth.
"""

_PKG_LEVEL: Final = 19
"""Of zstd: what a package comes out with that nothing known made."""

_STEP: Final = 64 << 10
"""Bytes that are compressed at a time."""


class Encoder(Protocol):
    """One way to compress. The same input gives the same output everywhere."""

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """The compressed form of ``raw``, in pieces."""


@dataclass(frozen=True)
class Plain:
    """No compression."""

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """``raw`` itself."""
        return raw.pieces()


@dataclass(frozen=True)
class Bzip2:
    """libbz2; the level is its block size in units of 100 kB."""

    level: int

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """One bzip2 stream."""
        return _through(bz2.BZ2Compressor(self.level), raw)


@dataclass(frozen=True)
class Xz:
    """liblzma; the check is the one that the stream header names."""

    preset: int
    check: int

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """One xz stream of one block."""
        xz = lzma.LZMACompressor(lzma.FORMAT_XZ, check=self.check, preset=self.preset)
        return _through(xz, raw)


@dataclass(frozen=True)
class Gzip:
    """zlib behind the original's own header, which holds the time and the name."""

    level: int
    header: bytes

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """One gzip member (RFC 1952): header, deflate stream, CRC-32 and size."""
        yield self.header
        deflater, sum_ = zlib.compressobj(self.level, zlib.DEFLATED, -zlib.MAX_WBITS), 0
        # Not in small pieces, as below: level 0 writes a block for what it is given at a time.
        for piece in raw.pieces():
            yield deflater.compress(piece)
            sum_ = zlib.crc32(piece, sum_)
        yield deflater.flush()
        yield struct.pack("<II", sum_, raw.size & 0xFFFFFFFF)


@dataclass(frozen=True)
class Zstd:
    """libzstd; the flags are the original's. libarchive streams, and writes no content size."""

    level: int
    has_checksum: bool
    has_size: bool

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """One zstd frame."""
        import zstandard  # only packages of this kind pay for it

        compressor = zstandard.ZstdCompressor(level=self.level, write_checksum=self.has_checksum)
        if not self.has_size:
            yield from _through(compressor.compressobj(), raw)
        elif raw.size <= _LITTLE:
            yield compressor.compress(raw.whole())
        else:
            yield from _through(compressor.compressobj(size=raw.size), raw)


@dataclass(frozen=True)
class Padded:
    """Another encoder, with zeros behind it up to a whole record: bsdtar into a pipe."""

    encoder: Encoder

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """The compressed form, filled up."""
        size = 0
        for piece in self.encoder.compress(raw):
            size += len(piece)
            yield piece
        yield bytes(-size % RECORD)


@dataclass(frozen=True)
class Framed:
    """Another encoder, with the original's skippable frames of zstd around what it makes."""

    encoder: Encoder
    before: bytes
    after: bytes

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """The compressed form between the two."""
        yield self.before
        yield from self.encoder.compress(raw)
        yield self.after


class _Compressor(Protocol):
    """What the compressors of bz2, lzma, zlib and zstandard have in common."""

    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _through(compressor: _Compressor, raw: Bulk) -> Iterator[bytes]:
    for piece in raw.pieces():
        # In small pieces: who compares what comes out stops at the first that differs.
        view = memoryview(piece)
        for start in range(0, len(piece), _STEP):
            yield compressor.compress(view[start : start + _STEP])
    yield compressor.flush()


class FoundEncoder(NamedTuple):
    """An encoder, and whether it makes exactly the bytes that it was to make."""

    encoder: Encoder
    is_exact: bool


def find_encoder(
    data: Bulk, raw: Bulk, kind: Compression, made_by: Encoder | None = None
) -> FoundEncoder:
    """The encoder that makes ``data`` out of ``raw``, or the usual one of its kind.

    ``made_by`` is known to make it: no more is tried than those that come before it. Raises
    DamagedFileError when the header of ``data`` makes no sense.
    """
    start = skip_frames(data, 0) if kind is Compression.ZSTD else 0
    first, *others = _encoders(data, kind)
    for one in (first, *others[: TRIAL_BYTES[kind] // max(raw.size, 1)]):
        if one == made_by:
            return FoundEncoder(one, is_exact=True)
        end = end_of(data, start, one.compress(raw))
        exact = None if end is None else _with_the_rest(one, data, start, end, kind)
        if exact is not None:
            return FoundEncoder(exact, is_exact=True)
    usual = replace(first, level=_PKG_LEVEL) if isinstance(first, Zstd) else first
    return FoundEncoder(Framed(usual, data.part(0, start), b"") if start else usual, is_exact=False)


def leads_back(
    original: Bulk, raw: Bulk, used: FoundEncoder, result: Bulk, changed: Bulk, kind: Compression
) -> bool:
    """Whether who finds ``result``, which ``used`` made of ``changed``, and puts ``raw`` into it,
    gets ``original`` again. ``used`` is what was found for that.
    """
    again = find_encoder(result, changed, kind, used.encoder).encoder
    if again == used.encoder:
        return used.is_exact
    return is_made_of(original, again.compress(raw))


def _with_the_rest(
    one: Encoder, data: Bulk, start: int, end: int, kind: Compression
) -> Encoder | None:
    """What makes all of ``data``, if ``one`` makes the bytes from ``start`` to ``end``."""
    if kind is Compression.ZSTD and skip_frames(data, end) == data.size:
        after = data.part(end, data.size)
        return Framed(one, data.part(0, start), after) if start or after else one
    if start:
        return None
    if end == data.size:
        return one
    is_record = data.size % RECORD == 0 and data.size - end < RECORD
    return Padded(one) if is_record and data.is_zero(end) else None


def _encoders(data: Bulk, kind: Compression) -> Iterator[Encoder]:
    """The encoders of one kind, with what the header of ``data`` tells about them."""
    if kind is Compression.NONE:
        yield Plain()
    elif kind is Compression.BZIP2:
        yield Bzip2(_bzip2_level(data))
    elif kind is Compression.XZ:
        # The low four bits of the second flag byte (xz file format, 2.1.1.2).
        yield from (Xz(preset, data.part(7, 8)[0] & 0x0F) for preset in _XZ_PRESETS)
    elif kind is Compression.GZIP:
        header = data.part(0, read_header(data.part(0, _LITTLE)).size)
        yield from (Gzip(level, header) for level in (6, 9, 5, 4, 3, 2, 1, 8, 7, 0))
    else:
        # The frame header descriptor: bit 2 says that there is a checksum, bits 5 to 7 that
        # there is a content size (RFC 8878, 3.1.1.1.1). pkg has written levels 19 and 20, through
        # libarchive, which does not know the size; the zstd program writes it, and 3.
        at = skip_frames(data, 0) + 4
        descriptor = data.part(at, at + 1) or b"\0"
        flags = bool(descriptor[0] & 0x04), bool(descriptor[0] & 0xE0)
        first, second = (3, _PKG_LEVEL) if flags[1] else (_PKG_LEVEL, 3)
        yield from (Zstd(level, *flags) for level in (first, second, 20, 9, 6, 1))


_EXTREME: Final = lzma.PRESET_EXTREME
_XZ_PRESETS: Final = (6, 9, 9 | _EXTREME, 6 | _EXTREME, 1, 2, 3, 4, 5, 7, 8, 0)


def _bzip2_level(data: Bulk) -> int:
    """The block size, a digit in the fourth byte."""
    level = data.part(3, 4)[0] - ord("0")
    if not 1 <= level <= 9:
        raise DamagedFileError("the bzip2 header has no block size", where="byte 3")
    return level
