"""Holds interrupts back where one would be lost, or would strike a process half-made."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """An interrupt that comes within this strikes at its end. Raises KeyboardInterrupt there.

    For a fork: Python swallows what is raised in the functions that a library has it call around
    one, and an interrupt that comes while the system is at it is raised there. A process that is
    started within this is never interrupted.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
