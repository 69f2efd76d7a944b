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
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from kpatch.containers.compression import RECORD, Compression, skip_frames
from kpatch.containers.gzip import read_header
from kpatch.errors import DamagedFileError

TRIAL_BYTES: Final = 4 << 20
"""How much to compress, all trials together, in search of the original's encoder."""


class Encoder(Protocol):
    """One way to compress. The same input gives the same output everywhere."""

    def compress(self, raw: bytes) -> bytes:
        """The compressed form of ``raw``."""


@dataclass(frozen=True)
class Plain:
    """No compression."""

    def compress(self, raw: bytes) -> bytes:
        """``raw`` itself."""
        return raw


@dataclass(frozen=True)
class Bzip2:
    """libbz2; the level is its block size in units of 100 kB."""

    level: int

    def compress(self, raw: bytes) -> bytes:
        """One bzip2 stream."""
        return bz2.compress(raw, self.level)


@dataclass(frozen=True)
class Xz:
    """liblzma; the check is the one that the stream header names."""

    preset: int
    check: int

    def compress(self, raw: bytes) -> bytes:
        """One xz stream of one block."""
        return lzma.compress(raw, lzma.FORMAT_XZ, check=self.check, preset=self.preset)


@dataclass(frozen=True)
class Gzip:
    """zlib behind the original's own header, which holds the time and the name."""

    level: int
    header: bytes

    def compress(self, raw: bytes) -> bytes:
        """One gzip member (RFC 1952): header, deflate stream, CRC-32 and size."""
        deflate = zlib.compressobj(self.level, zlib.DEFLATED, -zlib.MAX_WBITS)
        trailer = struct.pack("<II", zlib.crc32(raw), len(raw) & 0xFFFFFFFF)
        return self.header + deflate.compress(raw) + deflate.flush() + trailer


@dataclass(frozen=True)
class Zstd:
    """libzstd; the flags are the original's. libarchive streams, and writes no content size."""

    level: int
    has_checksum: bool
    has_size: bool

    def compress(self, raw: bytes) -> bytes:
        """One zstd frame."""
        import zstandard  # only packages of this kind pay for it

        compressor = zstandard.ZstdCompressor(level=self.level, write_checksum=self.has_checksum)
        if self.has_size:
            return compressor.compress(raw)
        stream = compressor.compressobj()
        return stream.compress(raw) + stream.flush()


@dataclass(frozen=True)
class Padded:
    """Another encoder, with zeros behind it up to a whole record: bsdtar into a pipe."""

    encoder: Encoder

    def compress(self, raw: bytes) -> bytes:
        """The compressed form, filled up."""
        compressed = self.encoder.compress(raw)
        return compressed + bytes(-len(compressed) % RECORD)


@dataclass(frozen=True)
class Framed:
    """Another encoder, with the original's skippable frames of zstd around what it makes."""

    encoder: Encoder
    before: bytes
    after: bytes

    def compress(self, raw: bytes) -> bytes:
        """The compressed form between the two."""
        return self.before + self.encoder.compress(raw) + self.after


def find_encoder(data: bytes, raw: bytes, kind: Compression) -> Encoder:
    """The encoder that makes ``data`` out of ``raw``, or the usual one of its kind.

    Raises DamagedFileError when the header of ``data`` makes no sense.
    """
    trials = max(1, TRIAL_BYTES // max(len(raw), 1))
    candidates = list(islice(_candidates(data, kind), trials))
    usual, *others = candidates
    if not others:
        return usual
    before = data[: skip_frames(data, 0)] if kind is Compression.ZSTD else b""
    for one in candidates:
        made = before + one.compress(raw)
        if made == data and not before:
            return one
        if kind is not Compression.ZSTD or not data.startswith(made):
            continue
        if skip_frames(data, len(made)) == len(data):
            return Framed(one, before, data[len(made) :])
    return Framed(usual, before, b"") if before else usual


def _candidates(data: bytes, kind: Compression) -> Iterator[Encoder]:
    """Every encoder that might have made ``data``, the most usual one first."""
    for encoder in _encoders(data, kind):
        yield encoder
        if len(data) % RECORD == 0 and kind is not Compression.NONE:
            yield Padded(encoder)


def _encoders(data: bytes, kind: Compression) -> Iterator[Encoder]:
    """The encoders of one kind, with what the header of ``data`` tells about them."""
    if kind is Compression.NONE:
        yield Plain()
    elif kind is Compression.BZIP2:
        yield Bzip2(_bzip2_level(data))
    elif kind is Compression.XZ:
        # The low four bits of the second flag byte (xz file format, 2.1.1.2).
        yield from (Xz(preset, data[7] & 0x0F) for preset in _XZ_PRESETS)
    elif kind is Compression.GZIP:
        header = data[: read_header(data).size]
        yield from (Gzip(level, header) for level in (6, 9, 5, 4, 3, 2, 1, 8, 7, 0))
    else:
        # The frame header descriptor: bit 2 says that there is a checksum, bits 5 to 7 that
        # there is a content size (RFC 8878, 3.1.1.1.1). pkg has written levels 19 and 20; the
        # zstd program writes 3.
        descriptor = data[skip_frames(data, 0) + 4 :][:1] or b"\0"
        flags = bool(descriptor[0] & 0x04), bool(descriptor[0] & 0xE0)
        yield from (Zstd(level, *flags) for level in (19, 3, 20, 9, 6, 1))


_EXTREME: Final = lzma.PRESET_EXTREME
_XZ_PRESETS: Final = (6, 9, 9 | _EXTREME, 6 | _EXTREME, 1, 2, 3, 4, 5, 7, 8, 0)


def _bzip2_level(data: bytes) -> int:
    """The block size, a digit in the fourth byte."""
    level = data[3] - ord("0")
    if not 1 <= level <= 9:
        raise DamagedFileError("the bzip2 header has no block size", where="byte 3")
    return level
