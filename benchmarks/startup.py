"""What a command costs beyond the imports that it cannot do without."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import SAMPLE, Cost, kpatch, least

_ROUNDS = 15
SCAN = ("capstone", "click", "iced_x86")
"""What a scan really imports that is not Python's own: a test in tests/test_layering.py asks it."""

APPLY = (*SCAN, "keystone", "lief", "elftools.elf.elffile")
"""The same for apply: the assembler, and two readers that read the file back."""


def main() -> None:
    """Print the cost of scan and apply, and their ratios to the imports alone."""
    with tempfile.TemporaryDirectory() as folder:
        apply = kpatch("apply", "--no-verify", "-q", "-o", Path(folder, "out.ko"), SAMPLE)
        costs = least(
            {
                "imports of scan": [sys.executable, "-c", f"import {', '.join(SCAN)}"],
                "kpatch scan": kpatch("scan", SAMPLE),
                "imports of apply": [sys.executable, "-c", f"import {', '.join(APPLY)}"],
                "kpatch apply --no-verify": apply,
            },
            _ROUNDS,
        )
    for name, cost in costs.items():
        print(f"{name:<26} {1000 * cost.wall:7.1f} ms  {1000 * cost.cpu:7.1f} ms of processor time")
    _ratio("scan", costs["kpatch scan"], costs["imports of scan"])
    _ratio("apply", costs["kpatch apply --no-verify"], costs["imports of apply"])


def _ratio(name: str, whole: Cost, imports: Cost) -> None:
    print(
        f"{name}: {whole.wall / imports.wall:.2f} times its imports "
        f"({whole.cpu / imports.cpu:.2f} in processor time); goal: at most 1.3"
    )
