"""Has every reader look at a file, in a process of its own or in this one."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO, Final, NamedTuple

from kpatch.interrupts import held_back
from kpatch.witness.readers.picture import Picture, differences

NAMES: Final = ("pyelftools", "LIEF")

LIMIT: Final = 120.0
"""Seconds after which a reader counts as hanging. Both need less than one on a module of 1 MB."""


class Reading(NamedTuple):
    """What one reader says: nothing where it agrees."""

    reader: str
    version: str
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether it sees what is expected, and all of it."""
        return not self.differences


def read_by_each(data: bytes, expected: Picture) -> tuple[Reading, ...]:
    """Each reader's own view of ``data`` against what is expected.

    Raises ImportError, MemoryError or OSError where a reader cannot be had: that says nothing about
    the file.
    """
    return tuple(_reading(name, data, expected) for name in NAMES)


class Background:
    """The readers in another process, or in this one where none is to be had."""

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
                pickle.dump(self._asked, stream)

    def readings(self) -> tuple[Reading, ...]:
        """Wait for what the readers say; of no file they say nothing.

        That the process died, or does not answer in time, is a difference in itself; nothing is
        taken for read that was not. Raises what :func:`read_by_each` raises.
        """
        if self._asked is None:
            return ()
        found = None if self._pipe is None else _received(self._pipe)
        # By now others have let go of what the machine was short of, or the reason is told.
        return read_by_each(*self._asked) if found is None else found

    def end(self) -> None:
        """End the other process, whatever it does."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            # Not terminate(): a shell may have had it ignored, a library may handle it.
            self._process.kill()
            self._process.join()


# A fork where there is one: other ways to start load more anew than LIEF takes.
_PROCESS: Final = multiprocessing.get_context("fork").Process


def _received(pipe: Connection) -> tuple[Reading, ...] | None:
    """What the other process says; None where it could not have a reader."""
    try:
        if pipe.poll(LIMIT):
            readings: tuple[Reading, ...] | None = pipe.recv()
            return readings
        why = f"no answer in {LIMIT:.0f} s"
    except (EOFError, OSError):
        why = "the process that read it died"
    return tuple(Reading(name, "", (why,)) for name in NAMES)


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
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        with _stream(pipe, "rb") as stream:
            data, expected = pickle.load(stream)
        found = None
        with contextlib.suppress(ImportError, MemoryError, OSError):
            found = read_by_each(data, expected)
        pipe.send(found)


def _stream(pipe: Connection, mode: str) -> IO[bytes]:
    """``pipe`` as a file: to send and receive a message takes two copies of it in memory."""
    return os.fdopen(os.dup(pipe.fileno()), mode)


def _load() -> None:
    with contextlib.suppress(Exception):
        _lief()


def _reading(name: str, data: bytes, expected: Picture) -> Reading:
    version, read = _LOADED[name]()
    try:
        seen = read(data, expected.note_sections)
    # The machine's reasons.
    except (ImportError, MemoryError, OSError):
        raise
    # Both raise what they like on a damaged file, pyelftools some ten kinds.
    except Exception as error:
        return Reading(
            name, version, (f"it cannot read the file: {type(error).__name__}: {error}",)
        )
    return Reading(name, version, differences(expected, seen, ordered=name != "LIEF"))


Read = Callable[[bytes, frozenset[str]], Picture]


# Imported in the functions: LIEF alone costs 0.4 s, and a process of its own pays for it.
def _pyelftools() -> tuple[str, Read]:
    from kpatch.witness.readers import by_pyelftools

    return by_pyelftools.VERSION, by_pyelftools.read


def _lief() -> tuple[str, Read]:
    from kpatch.witness.readers import by_lief

    return by_lief.VERSION, lambda data, _: by_lief.read(data)


_LOADED: Final = {"pyelftools": _pyelftools, "LIEF": _lief}
