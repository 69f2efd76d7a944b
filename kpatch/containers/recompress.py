"""Compressing a changed file the way the original was compressed.

The program and the level that made a file are written nowhere. They are found by trying:
the encoder that turns the beginning of the original contents into the beginning of the original
file is the one to use again. libbz2, liblzma and zlib give the same bytes in every version in use,
so packages made by FreeBSD's tar and pkg are found. GNU gzip has a deflate of its own, and zstd
changes from version to version; such files come out with other compressed bytes around the same
contents.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from kpatch.containers.compression import RECORD, Compression, stream_end
from kpatch.containers.encoders import (
    STEP,
    Bzip2,
    Encoder,
    Framed,
    Gzip,
    Padded,
    Plain,
    Xz,
    Zstd,
)
from kpatch.containers.frames import BLOCK, skip_frames
from kpatch.containers.gzip import read_header
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk, end_of, is_made_of

TRIAL: Final = 256 << 10
"""How much is compressed to tell whether an encoder is the one. The headers of xz and zstd, which
come first, tell most others apart.
"""

TRIALS: Final = 2 << 20
"""The same of all trials together but the first."""

_PKG_LEVEL: Final = 19
"""Of zstd: what a package comes out with that nothing known made."""


class FoundEncoder(NamedTuple):
    """An encoder, and whether it makes exactly the bytes that it was to make; None where no more
    than TRIAL bytes of the contents were tried, which it does turn into those.
    """

    encoder: Encoder
    is_exact: bool | None


def find_encoder(
    data: Bulk, raw: Bulk, kind: Compression, made_by: Encoder | None = None
) -> FoundEncoder:
    """The encoder that makes ``data`` out of ``raw``, or the usual one of its kind.

    ``made_by`` is known to make it: no more is tried than those that come before it. Raises
    DamagedFileError when the header of ``data`` makes no sense.
    """
    start = skip_frames(data, 0) if kind is Compression.ZSTD else 0
    first, *others = _encoders(data, kind)
    steps = TRIALS // STEP
    for one in (first, *others):
        if one == made_by:
            return FoundEncoder(one, is_exact=True)
        trial = _tried(one, data, start, raw)
        if trial.fits:
            end = _end(data, start, kind) if trial.end is None else trial.end
            whole = _with_the_rest(one, data, start, end, kind)
            if whole is not None:
                return FoundEncoder(whole, None if trial.end is None else True)
        if one != first:
            steps -= trial.steps
        if steps <= 0:
            break
    usual = replace(first, level=_PKG_LEVEL) if isinstance(first, Zstd) else first
    return FoundEncoder(Framed(usual, data.part(0, start), b"") if start else usual, is_exact=False)


def leads_back(
    original: Bulk,
    raw: Bulk,
    used: FoundEncoder,
    result: Bulk,
    changed: Bulk,
    kind: Compression,
    *,
    stays: bool,
) -> bool:
    """Whether who finds ``result``, which ``used`` made of ``changed``, and puts ``raw`` into it,
    gets ``original`` again. ``used`` is what was found for that. Where the original ``stays``,
    nothing is compressed to see it: it is said as far as ``used`` was tried.
    """
    if stays:
        return used.is_exact is not False
    again = find_encoder(result, changed, kind, used.encoder).encoder
    if again == used.encoder and used.is_exact is not None:
        return used.is_exact
    return is_made_of(original, again.compress(raw))


def other_bytes(kind: Compression, contents: str) -> str:
    """What to tell of a file that does not come back byte for byte, and has ``contents`` inside."""
    return (
        f"no {kind.value} level known here makes this file: without the kept copy, revert gives "
        f"back the same {contents} compressed differently"
    )


class _Trial(NamedTuple):
    """How far an encoder's output was that of the file: to its end, to ``end``, or not at all."""

    fits: bool
    end: int | None
    steps: int


def _tried(one: Encoder, data: Bulk, start: int, raw: Bulk) -> _Trial:
    """What comes of compressing the first TRIAL bytes of ``raw``, all of it if it has no more."""
    most = TRIAL
    if isinstance(one, Zstd) and one.has_size and raw.size > BLOCK:
        if end_of(data, start, (one.first_block(raw),)) is None:
            return _Trial(False, None, BLOCK // STEP)
        most = TRIALS // 2  # it begins the same with a worker and without: both are tried
        if raw.size > most:
            return _Trial(True, None, BLOCK // STEP)
    at, steps = start, 0
    is_part = raw.size > most
    for piece in islice(one.compress(raw), most // STEP if is_part else None):
        steps += 1
        end = end_of(data, at, (piece,))
        if end is None:
            return _Trial(False, None, steps)
        at = end
    return _Trial(True, None if is_part else at, steps)


def _end(data: Bulk, start: int, kind: Compression) -> int:
    """Where the stream ends that begins at ``start``; the end of ``data`` where there can be no
    padding, nor frames, behind it.
    """
    is_padded = data.is_zero(data.size - 1)
    return stream_end(data, start, kind) if is_padded or kind is Compression.ZSTD else data.size


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
        header = data.part(0, read_header(data).size)
        yield from (Gzip(level, header) for level in (6, 9, 5, 4, 3, 2, 1, 8, 7, 0))
    else:
        # The frame header descriptor: bit 2 says that there is a checksum, bits 5 to 7 that
        # there is a content size (RFC 8878, 3.1.1.1.1). pkg has written levels 19 and 20, through
        # libarchive, which does not know the size; the zstd program writes it, and 3.
        at = skip_frames(data, 0) + 4
        descriptor = data.part(at, at + 1) or b"\0"
        flags = bool(descriptor[0] & 0x04), bool(descriptor[0] & 0xE0)
        if flags[1]:
            levels = (3, _PKG_LEVEL, 20, 9, 6, 1)
            yield from (Zstd(level, *flags, worker) for level in levels for worker in (True, False))
        else:
            yield from (Zstd(level, *flags) for level in (_PKG_LEVEL, 3, 20, 9, 6, 1))


_EXTREME: Final = lzma.PRESET_EXTREME
_XZ_PRESETS: Final = (6, 9, 9 | _EXTREME, 6 | _EXTREME, 1, 2, 3, 4, 5, 7, 8, 0)


def _bzip2_level(data: Bulk) -> int:
    """The block size, a digit in the fourth byte."""
    level = data.part(3, 4)[0] - ord("0")
    if not 1 <= level <= 9:
        raise DamagedFileError("the bzip2 header has no block size", where="byte 3")
    return level
