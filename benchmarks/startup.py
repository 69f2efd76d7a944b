"""What a command costs beyond the imports that it cannot do without."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import ROOT, SAMPLE, Cost, kpatch, least, sized

_ROUNDS = sized(15, 1)
SCAN = ("iced_x86",)
"""What a scan really imports that is not Python's own: a test in tests/test_layering.py asks it."""

YARDSTICK = ("capstone", "click")
"""What a scan imported when its goal was set: one that imports less does not move its goal."""

READERS = ("lief", "elftools.elf.elffile")
"""Two readers that read a file back, in a process of their own."""

APPLY = (*SCAN, "click", "keystone", *READERS)
"""The same for apply and that process: the assembler, and the readers."""


def main() -> None:
    """Print the cost of scan and apply, and their ratios to the imports alone."""
    with tempfile.TemporaryDirectory() as folder:
        apply = kpatch("apply", "--no-verify", "-q", "-o", Path(folder, "out.ko"), SAMPLE)
        costs = least(
            {
                "import click": [sys.executable, "-c", "import click"],
                "kpatch scan, no kqemu": kpatch("scan", ROOT / "samples/other.ko"),
                "import capstone, click": [sys.executable, "-c", f"import {', '.join(YARDSTICK)}"],
                "all modules of scan": [sys.executable, "-c", _all_modules()],
                "kpatch scan": kpatch("scan", SAMPLE),
                "imports of apply": [sys.executable, "-c", f"import {', '.join(APPLY)}"],
                "kpatch apply --no-verify": apply,
            },
            _ROUNDS,
        )
    for name, cost in costs.items():
        print(f"{name:<26} {1000 * cost.wall:7.1f} ms  {1000 * cost.cpu:7.1f} ms of processor time")
    _ratio(costs, "kpatch scan, no kqemu", "import click", 1.05)
    _ratio(costs, "kpatch scan", "import capstone, click", 1.15)
    _ratio(costs, "kpatch scan", "all modules of scan", 1.15)
    _ratio(costs, "kpatch apply --no-verify", "imports of apply", 1.3)


def _all_modules() -> str:
    """A program that imports whatever a scan of the sample does, kpatch's own modules too.

    It ends as kpatch does, without taking Python apart.
    """
    code = (
        "import sys; old = set(sys.modules)\n"
        "from kpatch.cli.main import run\n"
        f"run(['scan', {str(SAMPLE)!r}])\n"
        "print(*(name for name in sys.modules if name not in old))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = done.stdout.splitlines()[-1].split()
    return (
        "import contextlib, importlib, os\n"
        f"for name in {names!r}:\n"
        # Some of what is in sys.modules, as typing.io, is no module that can be asked for.
        "    with contextlib.suppress(ImportError):\n"
        "        importlib.import_module(name)\n"
        "os._exit(0)"
    )


def _ratio(costs: Mapping[str, Cost], name: str, other: str, goal: float) -> None:
    own, theirs = costs[name], costs[other]
    print(
        f"{name}: {own.wall / theirs.wall:.2f} of {other} "
        f"({own.cpu / theirs.cpu:.2f} in processor time); goal: at most {goal}"
    )
