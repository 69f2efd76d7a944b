"""Whole runs of ``kpatch verify``, controls included."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, kpatch, least, patch_sample, sized

_GOALS = (
    ("2 CPUs, sc", ("--cpus", "2", "--model", "sc"), 1.0),
    ("4 CPUs, sc", ("--cpus", "4", "--model", "sc"), 3.0),
    ("16 CPUs, sc", ("--cpus", "16", "--model", "sc"), 30.0),
    ("2 CPUs, tso", ("--cpus", "2", "--model", "tso"), 0.0),
    ("4 CPUs, tso", ("--cpus", "4", "--model", "tso"), 0.0),
)


def main() -> None:
    """Print seconds, states, transitions and rates, and what tso costs against sc."""
    print(f"{os.cpu_count()} cores")
    walls: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        patched = Path(folder, "kqemu.ko")
        patch_sample(patched)
        for name, options, goal in _GOALS:
            command = kpatch("verify", *options, patched)
            cost = least({name: command}, 1 if "16" in name else sized(3, 1))[name]
            walls[name] = cost.wall
            print(_line(name, cost.wall, goal, [*command, "--json"]))
    for cpus in (2, 4):
        ratio = walls[f"{cpus} CPUs, tso"] / walls[f"{cpus} CPUs, sc"]
        print(f"tso against sc, {cpus} CPUs: {ratio:.2f} times; goal: at most 4")


def _line(name: str, wall: float, goal: float, command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    document = json.loads(done.stdout)["files"][0]
    explored = document["explored"]
    states = sum(each["states"] for each in explored)
    transitions = sum(each["transitions"] for each in explored)
    text = (
        f"{name:<12} {document['verdict']}: {wall:6.2f} s, {len(explored)} explorations, "
        f"{states} states, {transitions} transitions, {transitions / wall:.0f} transitions/s"
    )
    return f"{text}; goal: {goal:g} s" if goal else text
