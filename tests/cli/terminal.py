"""A terminal of a given width for kpatch to run in, and what stands on its screen at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cli.harness import command_line, environment

ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECONDS: Final = 300


def on_terminal(
    arguments: list[str],
    folder: Path,
    columns: int,
    term: str = "xterm",
    program: Sequence[str] = (),
) -> tuple[int, str]:
    """Run kpatch in a terminal of that width: its exit code, and all that it wrote.

    ``program`` are the arguments of a Python to run instead.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *program] if program else command_line(*arguments),
        cwd=folder,
        env=environment({"TERM": term}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    written = b""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                written += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    return process.wait(_SECONDS), written.decode()


def screen(written: str, columns: int) -> list[str]:
    """What stands on the terminal at the end: a small terminal, for what rich and we write."""
    rows: list[list[str]] = [[]]
    at = column = 0
    for each in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.|\n", written, re.DOTALL):
        if each == "\n":
            at += 1
            if at == len(rows):
                rows.append([])
        elif each == "\r":
            column = 0
        elif each.endswith("A") and each[0] == "\x1b":
            at -= int(each[2:-1] or 1)
        elif each == "\x1b[2K":
            rows[at] = []
        elif each[0] != "\x1b":
            if column == columns:  # as terminals wrap
                at, column = at + 1, 0
                rows += [[] for _ in range(at + 1 - len(rows))]
            rows[at] = (rows[at] + [" "] * columns)[:columns]
            rows[at][column] = each
            column += 1
    return [line for row in rows if (line := "".join(row).rstrip())]
