"""A proof pair by pair against another build of kpatch: processor time, wall time and memory.

``KPATCH_BEFORE=PROGRAM python -m benchmarks pairs``; without it only this build's own figures.
The two take turns, and what counts is the median of the ratios of neighbours: what else runs on the
machine slows both alike.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.measure import ROOT, SAMPLE, build_before, kpatch, once, sized

_ROUNDS = sized(5, 1)
_EVERY = 0.02
"""Seconds between two looks at the processes of a command."""

_SAME = ("verify", "--cpus", "2,4,16", "--model", "sc")
"""What builds with and without later scenarios and selectors explore alike."""


@dataclass(frozen=True)
class Room:
    """KiB: the most that all processes of a command held at once, and that one had mapped."""

    resident: int
    mapped: int


def main() -> None:
    """Print each command's figures, and their ratios to the build before."""
    before = build_before()
    with tempfile.TemporaryDirectory() as folder:
        programs = {"now": kpatch()} | ({"before": [before]} if before else {})
        patched = {name: Path(folder, f"{name}.ko") for name in programs}
        for name, program in programs.items():
            command = [
                *program,
                "apply",
                "--no-verify",
                "-q",
                "-o",
                str(patched[name]),
                str(SAMPLE),
            ]
            subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        print(f"medians of {_ROUNDS} pairs of runs")
        out = str(Path(folder, "out.ko"))
        for title, options, of_patched in (
            ("scan", ("scan",), False),
            ("apply --no-verify", ("apply", "--no-verify", "-q", "-o", out), False),
            ("apply", ("apply", "-q", "-o", out), False),
            ("verify", ("verify",), True),
            ("verify --jobs 1", ("verify", "--jobs", "1"), True),
            ("verify, 2, 4, 16 CPUs, sc, TR 0x30", _SAME, True),
        ):
            commands = {
                name: [*program, *options, *_narrowed(options, name), str(
                    patched[name] if of_patched else SAMPLE
                )]
                for name, program in programs.items()
            }  # fmt: skip
            _compare(title, commands, Path(out))


def _narrowed(options: Sequence[str], name: str) -> tuple[str, ...]:
    return ("--tr-selector", "0x30") if options is _SAME and name == "now" else ()


def _compare(title: str, commands: dict[str, list[str]], out: Path) -> None:
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(_ROUNDS):
        for name, command in commands.items():
            out.unlink(missing_ok=True)
            cost = once(command)
            costs[name].append((cost.cpu, cost.wall))
    rooms: dict[str, Room] = {}
    for name, command in commands.items():
        out.unlink(missing_ok=True)
        rooms[name] = _room(command)
        cpu, wall = (median(values) for values in zip(*costs[name], strict=True))
        print(
            f"{title:<36} {name:<7} {cpu:6.2f} s of processor time, {wall:6.2f} s, "
            f"{rooms[name].resident >> 10:5} MiB resident, {rooms[name].mapped >> 10:6} MiB mapped"
        )
    if "before" in costs:
        ratios = [
            median(
                ours[which] / theirs[which] for ours, theirs in zip(*costs.values(), strict=True)
            )
            for which in (0, 1)
        ]
        memory = rooms["now"].resident / rooms["before"].resident
        print(
            f"{'':<36} ratio   {ratios[0]:.2f} in processor time, {ratios[1]:.2f} on the clock, "
            f"{memory:.2f} in memory"
        )


def _room(command: Sequence[str]) -> Room:
    """Watch all processes of a command, in a session of their own. Linux only; else nothing."""
    resident = mapped = 0
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while process.poll() is None:
        members = [each for each in _processes() if _session(each) == process.pid]
        resident = max(resident, sum(_kib(each / "smaps_rollup", "Pss:") for each in members))
        mapped = max([mapped, *(_kib(each / "status", "VmPeak:") for each in members)])
        time.sleep(_EVERY)
    return Room(resident, mapped)


def _processes() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def _session(process: Path) -> int:
    try:
        # proc(5): the name is in brackets; state, parent, group and session follow.
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return 0


def _kib(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
