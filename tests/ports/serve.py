"""Answers for kpatch, the real and the play one, without its start: ``python serve.py REQUESTS``.

It loads both once, and forks for every call. The program in PATH is a shell script that writes
its process number, which kpatch it is and the name of a FIFO to REQUESTS; the fork takes the
words, the environment, the folder and the streams of that process from /proc (proc(5)), and
writes the exit code to the FIFO. It ends with its standard input.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from kpatch.cli import commands, main  # noqa: F401  # main imports the commands when it is called
from tests.ports import fake_kpatch

# The subshell keeps the streams of the shell itself as they are.
CLIENT = """#!/bin/sh
mkfifo "$0.$$" && (echo "$$ {kind} $0.$$" >'{requests}') && read -r code <"$0.$$"
rm "$0.$$"
exit "$code"
"""


def _words(path: Path) -> list[str]:
    return [os.fsdecode(each) for each in path.read_bytes().split(b"\0")[:-1]]


def _answer(caller: str, kind: str, reply: str) -> NoReturn:
    code = 99
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        process = Path("/proc", caller)
        sys.argv = ["kpatch", *_words(process / "cmdline")[2:]]
        os.environ.clear()
        for each in _words(process / "environ"):
            name, _, value = each.partition("=")
            os.environ[name] = value
        os.chdir(process / "cwd")
        for stream, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
            os.dup2(os.open(process / "fd" / str(stream), flags | os.O_APPEND), stream)
        # New ones: those of the server know what its own streams are, files or pipes.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        if kind == "real":
            sys.exit(main.run(sys.argv[1:]))
        fake_kpatch.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(reply).write_text(f"{code}\n")
        os._exit(0)


def serve() -> None:
    """Serve until standard input ends."""
    # Open for writing too: so it does not end where a caller closes it.
    requests = os.open(sys.argv[1], os.O_RDWR)
    waiting = b""
    while True:
        ready, _, _ = select.select([requests, 0], [], [])
        if requests not in ready:
            return
        waiting += os.read(requests, 4096)
        *whole, waiting = waiting.split(b"\n")
        for line in whole:
            if os.fork() == 0:
                _answer(*line.decode().split(" ", 2))


if __name__ == "__main__":
    if os.fork():  # so it is nobody's child: other tests look whether they left one
        os._exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    serve()
