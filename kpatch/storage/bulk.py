"""Bytes that may be too many for memory: a package, and the archive inside it.

Up to IN_MEMORY bytes are kept as they are. What is larger goes to a temporary file without a name,
which nobody else can change and which is gone when the process is, however it ends.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kpatch.errors import FileAccessError
from kpatch.storage.reasons import explain

if TYPE_CHECKING:
    from typing import IO

IN_MEMORY: Final = 16 << 20
"""Twenty times what a package of kqemu has, unpacked."""

PIECE: Final = 1 << 20
"""Bytes of a file that are in memory at a time."""


class Bulk:
    """Bytes that do not change, read in parts. Equal to another with the same bytes."""

    __hash__ = None  # type: ignore[assignment]  # as bytearray: there is no cheap one

    def __init__(self, data: bytes = b"") -> None:
        self._file: IO[bytes] | None = None
        self._data = data
        self.size = len(data)
        self.inside: Bulk | None = None
        """What these bytes unpack to, where that was found out to tell what they are."""

    @staticmethod
    def of(data: bytes | Bulk) -> Bulk:
        """``data`` itself, or the same bytes."""
        return data if isinstance(data, Bulk) else Bulk(data)

    @staticmethod
    def join(pieces: Iterable[bytes], most: int | None = None) -> Bulk:
        """All ``pieces`` in a row. Raises TooMuchError above ``most`` bytes, FileAccessError."""
        made, buffer = Bulk(), bytearray()
        for piece in pieces:
            made.size += len(piece)
            if most is not None and made.size > most:
                raise TooMuchError
            buffer += piece
            if len(buffer) > IN_MEMORY or (made._file and len(buffer) > PIECE):
                made._append(buffer)
                buffer.clear()
        if made._file is None:
            made._data = bytes(buffer)
        else:
            made._append(buffer)
        return made

    def part(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, or fewer where there are not so many."""
        if self._file is None:
            return self._data[start:end]
        parts: list[bytes] = []
        end = min(end, self.size)
        with _naming_temporary("read"):
            while start < end and (data := os.pread(self._file.fileno(), end - start, start)):
                parts.append(data)
                start += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same, in pieces of bounded size; in one piece what is in memory."""
        end = self.size if end is None else min(end, self.size)
        if self._file is None:
            yield self._data[start:end]
            return
        for at in range(start, end, PIECE):
            yield self.part(at, min(at + PIECE, end))

    def whole(self) -> bytes:
        """All of it, for what is known to be small."""
        return self.part(0, self.size)

    def opened(self) -> IO[bytes]:
        """A file to read it from; where there is one, it is closed apart from that."""
        if self._file is None:
            return io.BytesIO(self._data)
        with _naming_temporary("read"):
            opened = os.fdopen(os.dup(self._file.fileno()), "rb")
            opened.seek(0)
        return opened

    def is_zero(self, start: int, end: int | None = None) -> bool:
        """Is there nothing but zeros?"""
        return all(piece.count(0) == len(piece) for piece in self.pieces(start, end))

    def digest(self) -> str:
        """SHA-256 in lower-case hex."""
        from kpatch.digest import digest_of

        return digest_of(self.pieces())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bulk):
            return NotImplemented
        return self.size == other.size and is_made_of(self, other.pieces())

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, data: bytearray) -> None:
        with _naming_temporary("write"):
            if self._file is None:
                self._file = _temporary()
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            view.release()


class TooMuchError(Exception):
    """More bytes than were allowed. Its caller says of what."""


@contextlib.contextmanager
def _naming_temporary(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileAccessError(
            f"cannot {doing} a temporary file for a large package: "
            f"{explain(Path(os.curdir), error)[0]}",
            todo="make room, or name a folder that has some in TMPDIR",
        ) from error


def is_made_of(whole: Bulk, pieces: Iterable[bytes]) -> bool:
    """Do ``pieces`` in a row give ``whole``? The first that does not fit ends it."""
    return end_of(whole, 0, pieces) == whole.size


def end_of(whole: Bulk, at: int, pieces: Iterable[bytes]) -> int | None:
    """Where in ``whole`` ``pieces`` in a row end that begin ``at``; None where one does not fit.

    What is behind the first one that does not fit is never asked for.
    """
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            part = piece[start : start + PIECE]
            if whole.part(at, at + len(part)) != part:
                return None
            at += len(part)
    return at


def _temporary() -> IO[bytes]:
    # Imported here: hardly any package is so large.
    import tempfile

    return tempfile.TemporaryFile(buffering=0)
