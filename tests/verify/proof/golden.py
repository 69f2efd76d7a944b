"""What ``verify`` prints, word for word. ``python -m tests.verify.proof.golden`` writes it."""

from __future__ import annotations

import re
from typing import Final

from tests.cli.golden import Case, folder, shown, without_versions
from tests.cli.harness import REPOSITORY, Done, run

GOLDEN: Final = REPOSITORY / "tests" / "golden" / "proof"
_TIME: Final = re.compile(r"\b\d+\.\d+ s$", re.MULTILINE)
_LEAVE: Final = ("--jobs", "1", "--cpus", "2", "--model", "sc", "--scenario", "leave")


def _case(name: str, *arguments: str) -> Case:
    return Case(name, ("verify", *arguments))


CASES: Final = (
    _case("proven", "--jobs", "1", "--cpus", "2", "patched.ko"),
    _case("proven-verbose", *_LEAVE, "-v", "patched.ko"),
    _case("violated", *_LEAVE, "kqemu-7.ko"),
    _case("violated-colour", *_LEAVE, "--color", "always", "kqemu-7.ko"),
    _case("not-proven", *_LEAVE, "--max-states", "12", "patched.ko"),
    _case("controls-not-proven", *_LEAVE, "--max-states", "2", "patched.ko"),
    _case("nothing-to-explore", "--scenario", "unknown-layout", "kqemu-7.ko"),
    _case("quiet", *_LEAVE, "-q", "kqemu-7.ko", "patched.ko"),
    _case("source-fix-a", *_LEAVE, "kqemu-7-fix-a.ko"),
    _case("source-fix-c", "--jobs", "1", "--cpus", "2", "--model", "tso", "kqemu-7-fix-c.ko"),
    _case("replay", *_LEAVE, "--replay", "0*2 0d 1*2 1d 1 0", "kqemu-7.ko"),
    _case("replay-impossible", *_LEAVE, "--replay", "0*2 1d", "kqemu-7.ko"),
    _case("not-kqemu", "other.ko"),
)


def printed(case: Case) -> str:
    """Everything that one case prints, times and versions masked, and its exit code."""
    with folder():
        done = run(*case.arguments)
    out = without_versions(_TIME.sub("- s", done.out))
    return shown(case, Done(done.code, out, done.err))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in CASES:
        (GOLDEN / f"{each.name}.txt").write_text(printed(each))
