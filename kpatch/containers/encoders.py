"""The encoders of the formats that a package or module comes in, each as its usual program has it.

The same input gives the same output everywhere; only zstd changes from version to version.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from kpatch.containers.compression import RECORD
from kpatch.containers.frames import BLOCK, through_first_block
from kpatch.storage.bulk import IN_MEMORY, Bulk

if TYPE_CHECKING:
    from zstandard import ZstdCompressionObj, ZstdCompressor

_LITTLE: Final = 4 << 20
"""What may be in memory at once, whatever it is."""

STEP: Final = 64 << 10
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
        if self.level:
            yield from _through(deflater, raw)
        else:
            # Not in small pieces: it writes a block for what it is given at a time.
            yield from (deflater.compress(piece) for piece in raw.pieces())
            yield deflater.flush()
        for piece in raw.pieces():
            sum_ = zlib.crc32(piece, sum_)
        yield struct.pack("<II", sum_, raw.size & 0xFFFFFFFF)


@dataclass(frozen=True)
class Zstd:
    """libzstd; the flags are the original's. libarchive streams, and writes no content size. Who
    writes it has all bytes at once, or is the zstd program: it has a worker unless told otherwise,
    which makes other bytes, and has all of its job in memory.
    """

    level: int
    has_checksum: bool
    has_size: bool
    has_worker: bool = False

    def compress(self, raw: Bulk) -> Iterator[bytes]:
        """One zstd frame."""
        if self.has_size and not self.has_worker and raw.size <= _LITTLE:
            return iter((self._compressor(0).compress(raw.whole()),))
        workers = int(self.has_worker and raw.size <= IN_MEMORY)
        return _through(self._stream(workers, raw), raw)

    def first_block(self, raw: Bulk) -> bytes:
        """The frame's header and first block, from the bytes of one block.

        A worker gives nothing back before its job of some megabytes is full, and libzstd 1.5.7 cuts
        the blocks behind the first where more bytes are known than a stream has seen.
        """
        begun = self._stream(0, raw).compress(raw.part(0, BLOCK))
        return through_first_block(begun)

    def _stream(self, workers: int, raw: Bulk) -> ZstdCompressionObj:
        compressor = self._compressor(workers)
        return compressor.compressobj(size=raw.size) if self.has_size else compressor.compressobj()

    def _compressor(self, workers: int) -> ZstdCompressor:
        import zstandard  # only packages of this kind pay for it

        return zstandard.ZstdCompressor(
            level=self.level, write_checksum=self.has_checksum, threads=workers
        )


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
        for start in range(0, len(piece), STEP):
            yield compressor.compress(view[start : start + STEP])
    yield compressor.flush()
