"""The readers in a process of their own, or in this one where none is to be had."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO, Final

from kpatch.errors import FileAccessError
from kpatch.interrupts import held_back
from kpatch.storage.bulk import PIECE, Bulk
from kpatch.witness.readers.picture import Picture
from kpatch.witness.readers.readback import (
    READERS,
    HalfRead,
    Reading,
    judged,
    read_by_each,
    seen_by_each,
)

LIMIT: Final = 120.0
"""Seconds after which a reader counts as hanging. Both need less than one on a module of 1 MB."""
_PIECE_OF_LIMIT: Final = 1.0

_FROM_OUTSIDE: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU}
)
"""Signals that a reader does not bring upon itself, whatever it reads."""


class Background:
    """Has one file read beside what this process does."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._asked: tuple[bytes, Picture] | None = None

    def load(self) -> None:
        """Have the other process load the readers, and go on.

        To load LIEF takes 0.4 s, for the 67,000 members of its enumerations.
        """
        if self._process is not None:
            return
        try:
            ours, theirs = multiprocessing.Pipe()
            process = _PROCESS(target=_child, args=(theirs, ours), daemon=True)
            with held_back():
                process.start()
                self._process, self._pipe = process, ours
        except OSError:
            return  # they are loaded here
        theirs.close()

    def read(self, data: bytes, expected: Picture) -> None:
        """Have ``data`` read, once, and go on."""
        self.load()
        self._asked = data, expected
        if self._pipe is not None:
            # A process that is gone shows when it should answer.
            with contextlib.suppress(OSError), _stream(self._pipe, "wb") as stream:
                # The original stays here: see left_over.
                pickle.dump((len(data), replace(expected, original=None)), stream)
                stream.write(data)

    def readings(self) -> tuple[Reading, ...]:
        """Wait for what the readers say; of no file they say nothing.

        That the process died, or does not answer in time, is a difference in itself; nothing is
        taken for read that was not. Raises what :func:`read_by_each` raises.
        """
        if self._asked is None:
            return ()
        found = None
        if self._pipe is not None and self._process is not None:
            found = _received(self._pipe, self._process)
        # By now others have let go of what the machine was short of, or the reason is told.
        return read_by_each(*self._asked) if found is None else judged(found, *self._asked)

    def end(self) -> None:
        """End the other process, whatever it does."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            # Not terminate(): a shell may have had it ignored, a library may handle it.
            self._process.kill()
            self._process.join()


# A fork where there is one: other ways to start load more anew than LIEF takes.
_PROCESS: Final = multiprocessing.get_context("fork").Process


def _received(pipe: Connection, process: BaseProcess) -> tuple[HalfRead, ...] | None:
    """What the other process says; None where it could not have a reader, or somebody killed it:
    that says nothing about the file.
    """
    try:
        # In pieces: the time in which all of kpatch is stopped counts as one, however long.
        if any(pipe.poll(_PIECE_OF_LIMIT) for _ in range(round(LIMIT / _PIECE_OF_LIMIT))):
            seen: tuple[HalfRead, ...] | None = pipe.recv()
            return seen
        why = f"no answer in {LIMIT:.0f} s"
    except (EOFError, OSError):
        process.join(_PIECE_OF_LIMIT)
        if -(process.exitcode or 0) in _FROM_OUTSIDE:
            return None
        why = "the process that read it died"
    return tuple(HalfRead(Reading(name, "", (why,))) for name in READERS)


def _child(pipe: Connection, others_end: Connection) -> None:
    # An interrupt ends the proof, which then still says what the readers saw: a reader that died
    # of it would be taken for one that disagrees.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Loading LIEF makes very many objects that stay, among which the collector looks for garbage.
    gc.disable()
    others_end.close()
    # Beside it, so that whoever sends the file need not wait. What cannot be loaded is told below.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=_load, daemon=True).start()
    found = None
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        with contextlib.suppress(ImportError, MemoryError, OSError, FileAccessError):
            with _stream(pipe, "rb") as stream:
                size, expected = pickle.load(stream)
                # In a file where it is large, so that it is in memory once: where LIEF has it.
                data = Bulk.join(_pieces(stream, size))
            with data.opened() as opened:
                found = seen_by_each(opened, size, expected)
        pipe.send(found)


def _stream(pipe: Connection, mode: str) -> IO[bytes]:
    """``pipe`` as a file: to send and receive a message takes two copies of it in memory."""
    return os.fdopen(os.dup(pipe.fileno()), mode)


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The next ``size`` bytes. Raises EOFError where there are fewer."""
    while size:
        piece = stream.read(min(size, PIECE))
        if not piece:
            raise EOFError
        yield piece
        size -= len(piece)


def _load() -> None:
    with contextlib.suppress(Exception):
        for load in READERS.values():
            load()
