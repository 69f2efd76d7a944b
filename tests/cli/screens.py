"""What stands on a terminal of 60, 80 and 120 columns. ``python -m tests.cli.screens`` writes it.

One process in one terminal runs all cases of all widths: a case costs no start of its own, and no
import of LIEF. The checks of the whole switch, half of a short proof, are made once for each file.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
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
import fcntl, json, os, struct, sys, termios
import kpatch.witness.readers.by_lief
from kpatch.cli import main
from kpatch.verify.proof import workers
from tests.verify.proof.calls import whole_switch_of
workers.whole_switch = whole_switch_of
for columns, folder in json.loads(sys.argv[2]):
    os.chdir(folder)
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    print("####", flush=True)
    for each in json.loads(sys.argv[1]):
        print("##", flush=True)
        print("exit code", main.run(each), flush=True)
"""
_TIME: Final = re.compile(r"\s+\d+\.\d+\s+s\b")
"""Where it folds depends on how long it took: the blank in front is masked as well."""


def screens() -> dict[int, dict[str, str]]:
    """The screen of every case on a terminal of each width, without times and versions."""
    calls = json.dumps([list(each) for each in CASES.values()])
    with ExitStack() as stack:
        # Each width has a folder of its own: apply changes what lies there.
        places = [(columns, str(stack.enter_context(folder()))) for columns in WIDTHS]
        program = ("-c", _PROGRAM, calls, json.dumps(places))
        # COLUMNS would win over the terminal, so it is not handed on.
        code, written = on_terminal([], Path.cwd(), WIDTHS[0], program=program)
    assert code == 0, written
    parts = re.split(r"^####\r?\n", written, flags=re.M)[1:]
    return {
        columns: _of_each_case(part, columns) for columns, part in zip(WIDTHS, parts, strict=True)
    }


def _of_each_case(written: str, columns: int) -> dict[str, str]:
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
    for width, of_each_case in screens().items():
        for name, text in of_each_case.items():
            path_of(name, width).write_text(text)
