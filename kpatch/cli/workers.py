"""Many files on all cores, their results in order.

Worker number i of n takes every n-th part of the files and writes what it found into a pipe; the
first process reads the pipes in turn. A pipe that is full holds its worker back, so nobody piles up
results. A worker that cannot start, or dies, leaves its parts to the first process: nothing waits
for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, BinaryIO, Final, TypeVar

from kpatch.cli import boundary
from kpatch.errors import KpatchError
from kpatch.interrupts import held_back

T = TypeVar("T")
R = TypeVar("R")

_PART: Final = 8
"""Files that one worker takes at a time: few, so that the first results come soon."""
_WORTH_IT: Final = 4 * _PART
"""Fewer files are done before the workers have started."""


def in_order(
    action: Callable[[T], R], items: Sequence[T]
) -> Generator[R | KpatchError, None, None]:
    """What ``action`` makes of each item, or the error that it raised, in order.

    To close it lets go of the workers.
    """
    cores = _cores()
    if len(items) < _WORTH_IT or cores == 1 or not hasattr(os, "fork"):
        yield from (_outcome(action, item) for item in items)
        return
    parts = [items[at : at + _PART] for at in range(0, len(items), _PART)]
    workers = [_Worker(action, parts[number::cores]) for number in range(cores)]
    try:
        for number, part in enumerate(parts):
            found = workers[number % cores].next()
            if found is None:
                found = [_outcome(action, item) for item in part]
            yield from found
    finally:
        for worker in workers:
            worker.end()


def _cores() -> int:
    with contextlib.suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _outcome(action: Callable[[T], R], item: T) -> R | KpatchError:
    try:
        return action(item)
    except Exception as error:
        return boundary.as_ours(error)


class _Worker:
    """A child process, and the pipe that it answers through."""

    def __init__(self, action: Callable[[T], R], parts: Sequence[Sequence[T]]) -> None:
        self._pid = 0
        self._pipe: BinaryIO | None = None
        try:
            reader, writer = os.pipe()
        except OSError:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            with held_back():
                self._pid = os.fork()
                if self._pid == 0:
                    os.close(reader)
                    _work(writer, action, parts)
                os.close(writer)
                self._pipe = os.fdopen(reader, "rb")
        except OSError:
            os.close(reader)
            os.close(writer)

    def next(self) -> list[Any] | None:
        """The outcomes of the next part; None where the worker is gone."""
        if self._pipe is None:
            return None
        import pickle

        try:
            found: list[Any] = pickle.load(self._pipe)
        except (EOFError, pickle.UnpicklingError, OSError):  # it died, perhaps half-way
            self.end()
            return None
        return found

    def end(self) -> None:
        """Let go of the worker, finished or not."""
        if self._pipe is None:
            return
        self._pipe.close()
        self._pipe = None
        with contextlib.suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _work(writer: int, action: Callable[[T], R], parts: Sequence[Sequence[T]]) -> None:
    """The whole life of a worker. It never returns."""
    import pickle

    code = 1
    try:
        # An interrupt on the terminal goes to every process; the first one answers it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with os.fdopen(writer, "wb") as pipe:
            for part in parts:
                pickle.dump([_outcome(action, item) for item in part], pipe)
                pipe.flush()
        code = 0
    finally:
        os._exit(code)
