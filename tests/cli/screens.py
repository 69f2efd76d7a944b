"""What stands on a terminal of 60, 80 and 120 columns. ``python -m tests.cli.screens`` writes it.

One process in one terminal runs all cases of a width: a case costs no start of its own.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from tests.cli.golden import folder, without_versions
from tests.cli.harness import GOLDEN
from tests.cli.terminal import on_terminal, screen

SCREENS: Final = GOLDEN.parent / "screens"
WIDTHS: Final = (60, 80, 120)
_LEAVE: Final = ("--jobs", "1", "--cpus", "2", "--scenario", "leave")
CASES: Final = {
    "scan": ("scan", "-v", "kqemu-7.ko", "other.ko", "kqemu-linux.ko"),
    "diff": ("diff", "patched.ko"),
    "diff-unified": ("diff", "-u", "-U", "1", "patched.ko"),
    "violated": ("verify", *_LEAVE, "--model", "sc", "kqemu-7.ko"),
    "proven": ("verify", *_LEAVE, "--model", "tso", "patched.ko"),
    "apply": ("apply", "--no-verify", "kqemu-7.ko"),
    "apply-evidence": ("apply", "--no-verify", "-v", "kqemu-6.ko", "kqemu-7-twice.ko"),
    "apply-refused": ("apply", "kqemu-7-fix-a.ko"),
    "term": ("explain", "schedule"),
    "suggestion": ("aply", "kqemu-7.ko"),
    "usage": ("verify", "--scenario", "leve", "kqemu-7.ko"),
}
_PROGRAM: Final = """
import json, sys
from kpatch.cli import main
for each in json.loads(sys.argv[1]):
    print("##", flush=True)
    print("exit code", main.run(each), flush=True)
"""
_TIME: Final = re.compile(r"\s+\d+\.\d+\s+s\b")
"""Where it folds depends on how long it took: the blank in front is masked as well."""


def screens(columns: int) -> dict[str, str]:
    """The screen of every case on a terminal of that width, without times and versions."""
    calls = json.dumps([list(each) for each in CASES.values()])
    with folder() as place:
        # COLUMNS would win over the terminal, so it is not handed on.
        code, written = on_terminal([], place, columns, program=("-c", _PROGRAM, calls))
    assert code == 0, written
    found = "\n".join(screen(written, columns)).split("##\n")[1:]
    return {
        name: _plain(f"$ kpatch {' '.join(CASES[name])}\n{text.rstrip()}\n")
        for name, text in zip(CASES, found, strict=True)
    }


def _plain(text: str) -> str:
    """Without times and versions."""
    return without_versions(_TIME.sub(" - s", text))


def path_of(name: str, columns: int) -> Path:
    """Where a screen is kept."""
    return SCREENS / f"{name}-{columns}.txt"


if __name__ == "__main__":
    SCREENS.mkdir(exist_ok=True)
    for width in map(int, sys.argv[1:]) if sys.argv[1:] else WIDTHS:
        for name, text in screens(width).items():
            path_of(name, width).write_text(text)
