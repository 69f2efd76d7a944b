"""Times whole processes, turn by turn, so that a noisy moment hits all of them alike."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples/kqemu-7.ko"
_BEFORE = "KPATCH_BEFORE"
"""Names the kpatch program of a build to compare with, if there is one."""

IS_BRIEF = bool(os.environ.get("KPATCH_BRIEF"))
"""Whether each benchmark only shows that it runs: little of everything, and no figure is kept."""


def sized(full: int, brief: int) -> int:
    """How much of something a benchmark takes."""
    return brief if IS_BRIEF else full


_NO_CACHE = "PYTHONDONTWRITEBYTECODE"


@dataclass(frozen=True)
class Cost:
    """The least that a command took: seconds on the clock, seconds of processor time."""

    wall: float
    cpu: float
    is_success: bool = True


def kpatch(*arguments: str | Path) -> list[str]:
    """The command line of a kpatch command, run by this interpreter."""
    return [sys.executable, "-m", "kpatch", *map(str, arguments)]


def build_before() -> str | None:
    """The kpatch program to compare with. Raises SystemExit where the name is of no program."""
    name = os.environ.get(_BEFORE)
    if not name:
        return None
    program = shutil.which(name)
    if program is None or not once([program, "--version"]).is_success:
        raise SystemExit(f"{_BEFORE} must name the kpatch program of another build, not '{name}'")
    return str(Path(program).absolute())


def patch_sample(path: Path) -> None:
    """Write the patched sample to ``path``."""
    command = kpatch("apply", "--no-verify", "-q", "-o", path, SAMPLE)
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)


def least(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Cost]:
    """Run every command ``rounds`` times, in turn. The first round warms up and does not count."""
    best: dict[str, Cost] = {}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            cost = once(command)
            if turn:
                known = best.get(name, cost)
                best[name] = Cost(min(known.wall, cost.wall), min(known.cpu, cost.cpu))
    return best


def once(command: Sequence[str]) -> Cost:
    """Run a command, output thrown away, and say what it took.

    It may keep its compiled code, as an installed program has it: where the environment forbids
    that, each run would compile all of kpatch again, and none of the libraries.
    """
    environment = {key: value for key, value in os.environ.items() if key != _NO_CACHE}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, done.returncode == 0)
