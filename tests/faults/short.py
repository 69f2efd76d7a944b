"""Writes that the system takes in part only, as it may: every one of a run, or at a limit.

strace cannot do it: a call that it answers by a number does not happen at all.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.cli.harness import environment
from tests.faults.campaign import Scenario, left_behind

_SOURCE: Final = Path(__file__).with_name("short.c")
_HANGS: Final = 300
RUNS: Final = 4
"""Of each scenario."""


def _library(folder: Path) -> Path:
    library = folder / "short.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, _SOURCE], check=True, timeout=300)
    return library


def halved(scenario: Scenario, done: bytes) -> str:
    """What is wrong where every write takes half of what it is given; empty where nothing is."""
    with tempfile.TemporaryDirectory() as place:
        preload = {"LD_PRELOAD": str(_library(Path(place)))}
        run, found, left = _run(scenario, preload, None)
    if (run.returncode, found) != (0, done):
        return f"exit code {run.returncode}, {len(found)} bytes: {run.stderr[-300:]!r}"
    return left


def limited(scenario: Scenario, done: bytes, most: int) -> str:
    """The same where no file may grow beyond ``most`` bytes: a short write, then EFBIG."""
    run, found, left = _run(scenario, {}, most)
    if run.returncode != 18 or b"Traceback" in run.stderr:
        return f"exit code {run.returncode}: {run.stderr[-300:]!r}"
    if found != (b"" if scenario.output else scenario.before):
        return "a third file"
    return left


def _run(
    scenario: Scenario, extra: dict[str, str], most: int | None
) -> tuple[subprocess.CompletedProcess[bytes], bytes, str]:
    """The run, what the file or the output holds then, and what else is left behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / scenario.file).write_bytes(scenario.before)
        command = scenario.command(folder)
        if most is not None:
            # The limit is set by a process between: this one goes on without it.
            command = ["prlimit", f"--fsize={most}", *command]
        run = subprocess.run(
            command, env=environment(extra), capture_output=True, check=False, timeout=_HANGS
        )
        place = folder / (scenario.output or scenario.file)
        found = place.read_bytes() if place.exists() else b""
        return run, found, left_behind(scenario, folder, killed=False)


def judged(scenario: Scenario, done: bytes) -> list[str]:
    """What is wrong in any of these runs."""
    limits = (1, len(done) // 2, len(done) - 1)  # RUNS counts them
    verdicts = [("halved", halved(scenario, done))]
    verdicts += [(f"limit {most}", limited(scenario, done, most)) for most in limits]
    return [f"{what}: {wrong}" for what, wrong in verdicts if wrong]
