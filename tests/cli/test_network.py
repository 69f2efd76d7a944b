"""kpatch never talks to anybody: no name is looked up, no connection made, no port opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.harness import copied, environment

_GUARD = """
import sys
def guard(event, arguments):
    if event.startswith(("socket.", "http.", "urllib.", "ftplib.", "smtplib.")):
        # A path is a socket of this machine: QEMU is asked for its registers there.
        is_here = event == "socket.connect" and isinstance(arguments[1], (str, bytes))
        if event not in ("socket.__new__", "socket.gethostname") and not is_here:
            print("NETWORK", event, arguments, file=sys.stderr)
sys.addaudithook(guard)
import json
import kpatch.witness.readers.by_lief  # once, and not in a process of each call's own
from kpatch.cli.main import run
for call in json.loads(sys.argv[1]):
    print("\\nDONE", call, run(call), file=sys.stderr)
"""


def guarded(code: str, *arguments: str | Path) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    return done.stderr


_CALLS = (
    *(
        ["scan"],
        ["apply", "--no-verify"],
        ["diff"],
        ["apply", "--dry-run"],
        ["revert"],
        ["explain"],
    ),
    *(["demo", "--machine-seconds", "0.5"], ["hook"], ["schema"], ["lint-signatures"]),
)
_PROVE_LITTLE = ["verify", "--jobs", "2", "--cpus", "2", "--model", "sc", "--scenario", "leave"]
_WITHOUT_FILE = ("hook", "schema", "lint-signatures")


def test_no_command_uses_the_network(tmp_path: Path) -> None:
    calls = []
    for number, call in enumerate(_CALLS):
        files = [copied("kqemu-7.ko", tmp_path, f"{number}.ko")]
        calls.append([*call, *([] if call[0] in _WITHOUT_FILE else map(str, files))])
    calls.append([*_PROVE_LITTLE, str(tmp_path / "1.ko")])  # the one that apply has patched
    said = guarded(_GUARD, json.dumps(calls))
    assert said.count(b"\nDONE ") == len(calls)
    assert b"NETWORK" not in said


def test_the_guard_sees_a_connection() -> None:
    code = _GUARD.partition("import json")[0]
    code += (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: ...\n"
    )
    assert b"NETWORK" in guarded(code)
