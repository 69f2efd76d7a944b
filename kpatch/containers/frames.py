"""What zstd puts around and into its frames (RFC 8878), as far as no reader tells it."""

from __future__ import annotations

import re
from typing import Final

from kpatch.storage.bulk import Bulk

MAX_STREAMS: Final = 4096
"""Parallel compressors write one stream for each block of about 1 MB."""

_FRAME: Final = 8
_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18(?s:(.{4}))")
"""A frame with nothing for the reader (RFC 8878, 3.1.2): its magic, and its size."""

BLOCK: Final = 128 << 10
"""What a block holds at most (RFC 8878, 3.1.1.2.4)."""


def skip_frames(data: Bulk, position: int) -> int:
    """The position behind all skippable frames of zstd that begin at ``position``, or behind the
    first MAX_STREAMS.
    """
    for _ in range(MAX_STREAMS):
        end = behind_frame(data, position)
        if end is None:
            break
        position = end
    return position


def behind_frame(data: Bulk, position: int) -> int | None:
    """The position behind a skippable frame of zstd; None where none begins, or ends."""
    frame = _SKIPPABLE.fullmatch(data.part(position, position + _FRAME))
    if frame is None:
        return None
    end = position + _FRAME + int.from_bytes(frame[1], "little")
    return end if end <= data.size else None


def through_first_block(frame: bytes) -> bytes:
    """A frame from its magic to the end of its first block (RFC 8878, 3.1.1)."""
    has_window, size_bytes = not frame[4] & 0x20, 1 << (frame[4] >> 6)
    block = 5 + has_window + (size_bytes if size_bytes > 1 or not has_window else 0)
    return frame[: block + 3 + (int.from_bytes(frame[block : block + 3], "little") >> 3)]
