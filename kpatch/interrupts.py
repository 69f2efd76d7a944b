"""Holds signals back where one would be lost, or would strike what is half-made."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from typing import Final

_CANNOT_WAIT: Final = ("ABRT", "BUS", "EMT", "FPE", "ILL", "KILL", "SEGV", "STOP", "SYS", "TRAP")
"""What stops a program at the instruction that is wrong, and what nobody can hold back."""


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """An interrupt that comes within this strikes at its end. Raises KeyboardInterrupt there.

    For a fork: Python swallows what is raised in the functions that a library has it call around
    one, and an interrupt that comes while the system is at it is raised there. A process that is
    started within this is never interrupted.
    """
    with _blocked((signal.SIGINT,)):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The same for every signal that can wait: those that end a program without its saying
    anything (SIGTERM, SIGHUP, SIGQUIT, SIGXCPU, ...) too. For what must be done to its end.
    """
    named = {f"SIG{name}" for name in _CANNOT_WAIT}
    with _blocked(
        each for each in signal.valid_signals() if getattr(each, "name", "") not in named
    ):
        yield


@contextlib.contextmanager
def _blocked(numbers: Iterable[int]) -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
