"""kpatch never talks to anybody: no name is looked up, no connection made, no port opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.harness import copied, environment

_GUARD = """
import sys
def guard(event, arguments):
    if event.startswith(("socket.", "http.", "urllib.", "ftplib.", "smtplib.")):
        if event not in ("socket.__new__", "socket.gethostname"):
            print("NETWORK", event, arguments, file=sys.stderr)
sys.addaudithook(guard)
from kpatch.cli.main import main
main()
"""


def guarded(code: str, *arguments: str | Path) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.stderr


_WITHOUT_FILE = ("hook", "schema", "lint-signatures")


@pytest.mark.parametrize(
    "call",
    [
        *(["scan"], ["apply"], ["diff"], ["apply", "--dry-run"], ["revert"], ["explain"]),
        *(["demo"], ["hook"], ["schema"], ["lint-signatures"]),
    ],
    ids=" ".join,
)
def test_no_command_uses_the_network(call: list[str], tmp_path: Path) -> None:
    files = [] if call[0] in _WITHOUT_FILE else [copied("kqemu-7.ko", tmp_path)]
    assert b"NETWORK" not in guarded(_GUARD, *call, *files)


def test_the_guard_sees_a_connection() -> None:
    code = _GUARD.partition("from kpatch")[0]
    code += (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: ...\n"
    )
    assert b"NETWORK" in guarded(code)
