"""Has every reader look at a file, in a process of its own or in this one."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

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
    """Each reader's own view of ``data`` against what is expected."""
    return tuple(_reading(name, data, expected) for name in NAMES)


@contextmanager
def in_background(data: bytes, expected: Picture) -> Iterator[Callable[[], tuple[Reading, ...]]]:
    """Read back in another process; what is yielded waits for it and gives the readings.

    Where no process can be started, or it dies, or does not answer in time, that is a difference
    in itself; nothing is taken for read that was not.
    """
    try:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=_child, args=(theirs, data, expected), daemon=True)
        process.start()
    except OSError:
        yield lambda: read_by_each(data, expected)
        return
    theirs.close()
    try:
        yield lambda: _received(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()


def _received(ours: Connection) -> tuple[Reading, ...]:
    try:
        if ours.poll(LIMIT):
            readings: tuple[Reading, ...] = ours.recv()
            return readings
        why = f"no answer in {LIMIT:.0f} s"
    except (EOFError, OSError):
        why = "the process that read it died"
    return tuple(Reading(name, "", (why,)) for name in NAMES)


def _child(answer: Connection, data: bytes, expected: Picture) -> None:
    # Loading LIEF makes very many objects that stay, among which the collector looks for garbage.
    gc.disable()
    # An interrupt ends the proof, which then still says what the readers saw: a reader that died
    # of it would be taken for one that disagrees.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        answer.send(read_by_each(data, expected))


def _reading(name: str, data: bytes, expected: Picture) -> Reading:
    version = ""
    try:
        version = importlib.metadata.version(name)
        seen = _READ[name](data, expected.note_sections)
    # An OSError is the machine's: a process that may open no more files, say.
    except (ImportError, OSError) as error:
        return Reading(name, "", (f"it cannot be loaded: {error}",))
    # Both raise what they like on a damaged file, pyelftools some ten kinds.
    except Exception as error:
        return Reading(
            name, version, (f"it cannot read the file: {type(error).__name__}: {error}",)
        )
    return Reading(name, version, differences(expected, seen, ordered=name != "LIEF"))


# Imported in the functions: LIEF alone costs 0.4 s, and a process of its own pays for it.
def _by_pyelftools(data: bytes, note_sections: frozenset[str]) -> Picture:
    from kpatch.witness.readers.by_pyelftools import read

    return read(data, note_sections)


def _by_lief(data: bytes, note_sections: frozenset[str]) -> Picture:
    from kpatch.witness.readers.by_lief import read

    return read(data)


_READ: Final = {"pyelftools": _by_pyelftools, "LIEF": _by_lief}
