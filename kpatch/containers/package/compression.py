"""Which compression a package has, and the bytes inside it, within bounds.

A package comes from anywhere. So the stream is unpacked in small pieces, what comes out is
counted against a limit before the next piece goes in, and whatever follows the last stream
is refused: a rewritten package could not keep it.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Final, Protocol

from kpatch.errors import DamagedFileError

MAX_UNPACKED: Final = 512 << 20
"""No package holds more than this many bytes, unpacked."""

FREE_UNPACKED: Final = 64 << 20
MAX_RATIO: Final = 256
"""Above FREE_UNPACKED bytes, a package may be at most this many times its compressed size."""

PIECE: Final = 256
"""Input for one step. 256 bytes of zstd are at most 64 run-length blocks of 128 kB (RFC 8878,
3.1.1.2), 8 MiB; xz and gzip give less."""

STEP: Final = 8 << 20
"""Output of one step of bzip2, which needs a bound: it shortens runs before it cuts blocks, so
that 46 bytes may hold 46 MB."""

MAX_STREAMS: Final = 4096
"""Parallel compressors write one stream for each block of about 1 MB."""

XZ_MEMORY: Final = 128 << 20
"""``xz -9`` needs 65 MiB to unpack."""

ZSTD_WINDOW: Final = 1 << 27
"""The largest window of ``zstd --ultra -22``, and what the zstd program accepts by default."""


RECORD: Final = 20 * 512
"""What tar writes at once unless told otherwise: twenty blocks."""


class Compression(Enum):
    """How the tar archive of a package is compressed."""

    NONE = "tar"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    GZIP = "gzip"


MAGIC: Final = {
    Compression.BZIP2: b"BZh",
    Compression.XZ: b"\xfd7zXZ\x00",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
    Compression.GZIP: b"\x1f\x8b\x08",
}
TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_OFFSET: Final = 257


def recognise(data: bytes) -> Compression | None:
    """The compression of ``data`` by its first bytes; None when it is no archive we know."""
    for kind, magic in MAGIC.items():
        if data.startswith(magic):
            return kind
    if data.startswith(TAR_MAGIC, TAR_MAGIC_OFFSET):
        return Compression.NONE
    return None


def decompress(data: bytes, kind: Compression) -> bytes:
    """The tar archive inside ``data``.

    Raises DamagedFileError for a stream that is cut short, broken, followed by something
    else, or larger than the limits above.
    """
    if kind is Compression.NONE:
        if len(data) > MAX_UNPACKED:
            raise _too_large()
        return data
    limit = min(MAX_UNPACKED, max(FREE_UNPACKED, MAX_RATIO * len(data)))
    unpacked = bytearray()
    position = streams = 0
    while position < len(data) and not _is_padding(data, position, kind):
        streams += 1
        if streams > MAX_STREAMS:
            raise DamagedFileError(
                f"more than {MAX_STREAMS} {kind.value} streams in a row", todo=_TODO
            )
        position = _unpack_stream(data, position, kind, unpacked, limit)
    return bytes(unpacked)


_TODO: Final = "fetch or build the package again"


def _unpack_stream(
    data: bytes, position: int, kind: Compression, unpacked: bytearray, limit: int
) -> int:
    """Unpack one stream onto the end of ``unpacked``. Returns the position behind it."""
    if not data.startswith(MAGIC[kind], position):
        raise DamagedFileError(
            f"{len(data) - position} bytes follow the {kind.value} stream",
            where=f"byte {position}",
            todo=_TODO,
        )
    stream, failures = _stream(kind)
    while not stream.eof:
        piece = data[position : position + PIECE]
        if not piece:
            raise DamagedFileError(f"the {kind.value} stream is cut short", todo=_TODO)
        try:
            for output in _outputs(stream, piece):
                unpacked += output
                if len(unpacked) > limit:
                    raise _too_large()
        except failures as error:
            raise DamagedFileError(
                f"the {kind.value} stream is damaged ({error})",
                where=f"near byte {position}",
                todo=_TODO,
            ) from error
        position += len(piece)
    return position - len(stream.unused_data)


class _Stream(Protocol):
    """What the decompressors of bz2, lzma, zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _stream(kind: Compression) -> tuple[_Stream, tuple[type[Exception], ...]]:
    """A decompressor of one stream, and what it raises on a damaged one."""
    if kind is Compression.BZIP2:
        return bz2.BZ2Decompressor(), (OSError,)
    if kind is Compression.XZ:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), (lzma.LZMAError,)
    if kind is Compression.GZIP:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), (zlib.error,)
    import zstandard  # only packages of this kind pay for it

    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    return reader.decompressobj(), (zstandard.ZstdError,)


def _outputs(stream: _Stream, piece: bytes) -> Iterator[bytes]:
    """What comes out for one piece of input, in parts of bounded size."""
    if not isinstance(stream, bz2.BZ2Decompressor):
        yield stream.decompress(piece)
        return
    yield stream.decompress(piece, STEP)
    while not (stream.needs_input or stream.eof):
        yield stream.decompress(b"", STEP)


def _is_padding(data: bytes, position: int, kind: Compression) -> bool:
    """Is there nothing but allowed padding from ``position`` on?

    xz streams may be padded with zeros to a multiple of four (xz file format, 2.2). bsdtar
    pads whatever it writes into a pipe to whole records.
    """
    rest = len(data) - position
    is_record = rest < RECORD and len(data) % RECORD == 0
    is_xz = kind is Compression.XZ and rest % 4 == 0
    return position > 0 and (is_record or is_xz) and data.count(0, position) == rest


def _too_large() -> DamagedFileError:
    return DamagedFileError(
        "unpacks to far more than a package of its size holds",
        todo="do not install it; extract the module by hand if you trust it",
    )
