"""Which compression a file has, and the bytes inside it, within bounds.

The one reader of gzip, bzip2, xz and zstd: for modules, kernels and packages. A file comes from
anywhere. So the stream is unpacked in small pieces, what comes out is
counted against a limit before the next piece goes in, and whatever follows the last stream
is refused: a rewritten package could not keep it.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from collections.abc import Generator, Iterator
from enum import Enum
from typing import Final, Protocol

from kpatch.containers.frames import MAX_STREAMS, behind_frame, skip_frames
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk, TooMuchError
from kpatch.units import counted

MAX_UNPACKED: Final = 512 << 20
"""No package holds more than this many bytes, unpacked."""

FREE_UNPACKED: Final = 64 << 20
MAX_RATIO: Final = 256
"""Above FREE_UNPACKED bytes, a package may be at most this many times its compressed size."""

PIECE: Final = 256
"""Input for one step. 256 bytes of zstd are at most 64 run-length blocks of 128 kB (RFC 8878,
3.1.1.2), 8 MiB; xz and gzip give less."""

STEP: Final = 1 << 20
"""Output of one step of bzip2 and xz, whose readers keep to a bound: bzip2 shortens runs before it
cuts blocks, so that 46 bytes may hold 46 MB."""

_LONG_PIECES: Final = {
    "BZIP2": 64 << 10,  # STEP bounds what comes out
    "XZ": 64 << 10,
    "GZIP": 1 << 10,  # 1032 times as much at most (zlib's "Technical Details"), about STEP
}
"""Input for one step, by the name of its compression, where all of a stream is wanted."""

_FEW_BLOCKS: Final = 1 << 20
"""Bytes of bzip2, which cuts blocks of at most 900 kB of its input."""

XZ_MEMORY: Final = 128 << 20
"""``xz -9`` needs 65 MiB to unpack."""

ZSTD_WINDOW: Final = 1 << 27
"""The largest window of ``zstd --ultra -22``, and what the zstd program accepts by default."""

RECORD: Final = 20 * 512
"""What tar writes at once unless told otherwise: twenty blocks."""


class Compression(Enum):
    """How a file is compressed; NONE is a tar archive as it is."""

    NONE = "tar"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    GZIP = "gzip"


MAGICS: Final = {
    Compression.BZIP2: b"BZh",
    Compression.XZ: b"\xfd7zXZ\x00",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
    Compression.GZIP: b"\x1f\x8b\x08",
}
TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_OFFSET: Final = 257


def recognise(data: Bulk) -> Compression | None:
    """The compression of ``data`` by its first bytes; None when it is none we know."""
    start = skip_frames(data, 0)
    for kind, magic in MAGICS.items():
        if _has(data, magic, start if kind is Compression.ZSTD else 0):
            return kind
    if behind_frame(data, start) is not None:  # too many of them, which unpacking says
        return Compression.ZSTD
    if _has(data, TAR_MAGIC, TAR_MAGIC_OFFSET):
        return Compression.NONE
    return None


def _has(data: Bulk, magic: bytes, at: int) -> bool:
    return data.part(at, at + len(magic)) == magic


def decompress(data: bytes, kind: Compression, most: int = MAX_UNPACKED) -> bytes:
    """What is inside ``data``, for what has its place in memory; else as :func:`unpacked`."""
    return unpacked(Bulk(data), kind, most).whole()


def unpacked(data: Bulk, kind: Compression, most: int = MAX_UNPACKED) -> Bulk:
    """What is inside ``data``, at most ``most`` bytes.

    Raises DamagedFileError for a stream that is cut short, broken, followed by something
    else, or larger than the limits above; FileAccessError where there is no room for it.
    """
    if kind is Compression.NONE:
        if data.size > most:
            raise _too_large(most)
        return data
    limit = min(most, max(FREE_UNPACKED, MAX_RATIO * data.size))
    if data.inside is not None and data.inside.size <= limit:
        return data.inside
    try:
        return Bulk.join(_pieces(data, kind, _LONG_PIECES.get(kind.name, PIECE)), limit)
    except TooMuchError:
        raise _too_large(limit) from None


def first_bytes(data: Bulk, kind: Compression, count: int) -> bytes:
    """The first ``count`` bytes of what is inside, or fewer where the stream breaks before."""
    if kind is Compression.BZIP2 and data.size <= _FEW_BLOCKS:
        # The first byte costs a whole block, as much as all of most packages.
        with contextlib.suppress(DamagedFileError):
            data.inside = unpacked(data, kind)
            return data.inside.part(0, count)
    first = bytearray()
    try:
        for piece in _pieces(data, kind):
            first += piece
            if len(first) >= count:
                break
    except DamagedFileError:
        pass
    return bytes(first[:count])


def stream_end(data: Bulk, start: int, kind: Compression) -> int:
    """The position behind the stream that begins at ``start``. Raises DamagedFileError."""
    if kind is Compression.NONE:
        return data.size
    pieces = _stream_pieces(data, start, kind, _LONG_PIECES.get(kind.name, PIECE))
    while True:
        try:
            next(pieces)
        except StopIteration as done:
            return int(done.value)


_TODO: Final = "fetch or build it again"


def _pieces(data: Bulk, kind: Compression, step: int = PIECE) -> Iterator[bytes]:
    """All that comes out of the streams in ``data``, in parts of bounded size.

    ``step`` bytes go in at a time. What is broken in them keeps back what they would have given.
    """
    if kind is Compression.NONE:
        yield from data.pieces()
        return
    position = streams = 0
    while True:
        position = _next_stream(data, position, kind)
        if streams and (position == data.size or _is_padding(data, position, kind)):
            return
        streams += 1
        if streams > MAX_STREAMS:
            raise DamagedFileError(
                f"more than {MAX_STREAMS} {kind.value} streams in a row", todo=_TODO
            )
        position = yield from _stream_pieces(data, position, kind, step)


def _next_stream(data: Bulk, position: int, kind: Compression) -> int:
    """Behind what may lie between two streams: skippable frames of zstd, padding of xz."""
    if kind is Compression.ZSTD:
        behind = skip_frames(data, position)
        if behind_frame(data, behind) is not None:
            raise DamagedFileError(
                f"more than {MAX_STREAMS} skippable zstd frames in a row", todo=_TODO
            )
        return behind
    at = position
    while kind is Compression.XZ and (piece := data.part(at, at + PIECE)):
        zeros = len(piece) - len(piece.lstrip(b"\0"))
        at += zeros
        if zeros < len(piece):
            break
    # Of four bytes each (xz file format, 2.2); at the end _is_padding knows more of it.
    return at if at < data.size and (at - position) % 4 == 0 else position


def _stream_pieces(
    data: Bulk, start: int, kind: Compression, step: int
) -> Generator[bytes, None, int]:
    """What comes out of one stream. Returns the position behind it."""
    position = start
    if not _has(data, MAGICS[kind], position):
        raise DamagedFileError(
            f"{counted(data.size - position, 'byte')} behind the {kind.value} stream",
            where=f"byte {position}",
            todo=_TODO,
        )
    stream, failures = _stream(kind)
    while not stream.eof:
        piece = data.part(position, position + step)
        if not piece:
            raise DamagedFileError(f"the {kind.value} stream is cut short", todo=_TODO)
        try:
            yield from _outputs(stream, piece)
        except failures as error:
            if step > PIECE:  # once more, to say where
                for _ in _stream_pieces(data, start, kind, PIECE):
                    pass
            raise _unread(kind, error).within(f"near byte {position}") from error
        position += len(piece)
    return position - len(stream.unused_data)


def _unread(kind: Compression, error: Exception) -> DamagedFileError:
    """What a decompressor's complaint means: damage, or more memory than there may be."""
    if "memory" in str(error).lower():  # the words of liblzma and of libzstd
        most = XZ_MEMORY if kind is Compression.XZ else ZSTD_WINDOW
        return DamagedFileError(
            f"unpacking the {kind.value} stream takes more than {most >> 20} MiB of memory",
            todo="unpack it by hand if you trust it",
        )
    return DamagedFileError(f"the {kind.value} stream is damaged ({error})", todo=_TODO)


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
    if not isinstance(stream, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        yield stream.decompress(piece)
        return
    yield stream.decompress(piece, STEP)
    while not (stream.needs_input or stream.eof):
        yield stream.decompress(b"", STEP)


def _is_padding(data: Bulk, position: int, kind: Compression) -> bool:
    """Is there nothing but allowed padding from ``position`` on?

    xz streams may be padded with zeros to a multiple of four (xz file format, 2.2), gzip files
    with any number (gzip(1)). bsdtar pads whatever it writes into a pipe to whole records.
    """
    rest = data.size - position
    is_record = rest < RECORD and data.size % RECORD == 0
    is_own = kind is Compression.GZIP or (kind is Compression.XZ and rest % 4 == 0)
    return (is_record or is_own) and data.is_zero(position)


def _too_large(limit: int) -> DamagedFileError:
    most = f"{limit >> 20} MiB" if limit >= 1 << 20 else counted(limit, "byte")
    return DamagedFileError(
        f"unpacks to more than {most}, far more than a file of its kind and size holds",
        todo="do not install it; unpack it by hand if you trust it",
    )
