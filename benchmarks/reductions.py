"""What each reduction saves, and the ratio to a plain exploration of every instruction."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, kpatch, patch_sample, sized

_MODES = (
    ("all reductions", ()),
    ("without symmetry", ("--no-symmetry",)),
    ("without partial-order reduction", ("--no-por",)),
    ("without both", ("--no-por", "--no-symmetry")),
    ("every instruction", ("--no-por", "--no-symmetry", "--every-instruction")),
)
_BOUND = ("--max-states", "2000000", "--max-seconds", str(sized(120, 1)))


def main() -> None:
    """Print states, transitions and seconds of one scenario under each mode."""
    with tempfile.TemporaryDirectory() as folder:
        patched = Path(folder, "kqemu.ko")
        patch_sample(patched)
        for cpus in (2, 3):
            least: dict[str, float] = {}
            for name, options in _MODES:
                found = _explore(patched, cpus, options)
                least.setdefault("states", found["states"])
                least.setdefault("seconds", max(found["seconds"], 0.001))
                print(
                    f"{cpus} CPUs, {name:<32} {found['verdict']:<10} {found['states']:>8} states, "
                    f"{found['transitions']:>8} transitions, {found['seconds']:7.2f} s: "
                    f"{found['states'] / least['states']:.1f} times the states, "
                    f"{found['seconds'] / least['seconds']:.1f} times the seconds"
                )


def _explore(patched: Path, cpus: int, options: tuple[str, ...]) -> dict[str, float]:
    command = kpatch(
        "verify", "--json", "--scenario", "leave", "--model", "sc", "--cpus", str(cpus),
        *_BOUND, *options, patched,
    )  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    explored = json.loads(done.stdout)["files"][0]["explored"]
    obligation: dict[str, float] = next(each for each in explored if each["kind"] == "obligation")
    return obligation
