"""Which processes there are, by /proc (proc(5)): what a test leaves behind, and when it is gone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LATEST: Final = 300
"""Seconds after which what has not come to hold never will, on the slowest machine."""


def awaited(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold. It is asked again and again, so no speed matters."""
    end = time.monotonic() + _LATEST
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def command_lines() -> Iterator[bytes]:
    """The command line of every process, its words apart by NUL; empty for one that has ended."""
    return _files("cmdline")


def living(session: int) -> set[int]:
    """The processes of a session that have not ended. Whether somebody waits for an orphan that
    has is the machine's affair: in many a container nobody does.
    """
    found = set()
    for text in _files("stat"):
        # The name in brackets may hold anything; behind it: state, parent, group, session.
        number, (state, _, _, its_session) = text.split()[0], text.rpartition(b")")[2].split()[:4]
        if int(its_session) == session and state not in (b"Z", b"X"):
            found.add(int(number))
    return found


def is_on_its_way(kpatch: subprocess.Popen[bytes]) -> bool:
    """Whether a kpatch comes to load the disassembler: Python's own start lies behind it, and the
    work before it.
    """
    maps = Path(f"/proc/{kpatch.pid}/maps")
    awaited(lambda: kpatch.poll() is not None or "capstone" in maps.read_text())
    return kpatch.poll() is None


def _files(name: str) -> Iterator[bytes]:
    for each in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            yield each.read_bytes()
        except OSError:  # it has ended since
            continue
