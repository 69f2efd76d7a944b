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
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cli.harness import environment

ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIPED: Final = "\x1b[2K"
AT_ONCE: Final = (
    "import sys; from kpatch.cli import main, progress; progress._PATIENCE = 0; "
    "sys.exit(main.run(sys.argv[1:]))"
)
"""kpatch that shows its progress from the first moment on: what is over soon on a fast machine
would show none.
"""
_SECONDS: Final = 300


def on_terminal(
    arguments: list[str],
    folder: Path,
    columns: int,
    term: str = "xterm",
    program: Sequence[str] = (),
) -> tuple[int, str]:
    """Run kpatch in a terminal of that width: its exit code, and all that it wrote.

    ``program`` are the arguments of a Python to run instead. Progress is shown at once.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *(program or ("-c", AT_ONCE, *arguments))],
        cwd=folder,
        env=environment({"TERM": term}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    written = read_out(ours)
    os.close(ours)
    return process.wait(_SECONDS), written.decode()


def read_out(terminal: int, until: re.Pattern[bytes] | None = None) -> bytes:
    """What is written to a terminal until ``until`` stands there, or nobody has it open any more.

    Raises TimeoutError where neither comes.
    """
    written = b""
    while until is None or not until.search(written):
        if not select.select([terminal], [], [], _SECONDS)[0]:
            raise TimeoutError(written)
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody is at the other end any more
            break
        if not part:
            break
        written += part
    return written


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
