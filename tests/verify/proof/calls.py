"""Calls of ``kpatch verify`` that end soon, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from kpatch.verify.proof.tasks import Case
from kpatch.verify.proof.whole_switch import Whole, whole_switch
from tests.cli.harness import Done, patched_bytes, run

LEAVE: Final = ("--cpus", "2", "--model", "sc", "--scenario", "leave")
UP: Final = ("--cpus", "2", "--scenario", "up")
LONG: Final = ("--cpus", "10", "--model", "tso", "--scenario", "leave", "--no-symmetry")
"""Without symmetry there are 10! orders to enter: more work than anybody waits for."""


def patched(folder: Path, name: str = "kqemu-7.ko") -> Path:
    """A patched sample in ``folder``."""
    path = folder / name
    path.write_bytes(patched_bytes(name))
    return path


def verify(*arguments: str | Path) -> Done:
    """``kpatch verify`` in this process, without others."""
    return run("verify", "--jobs", "1", *arguments)


def document(*arguments: str | Path) -> dict[str, Any]:
    """The document of the first file."""
    found: dict[str, Any] = verify("--json", *arguments).document["files"][0]
    return found


_FOUND: dict[tuple[object, ...], Whole] = {}


def whole_switch_of(case: Case) -> Whole:
    """What the checks of the whole switch find, asked once for each patch."""
    # A test may have replaced how a machine is set up.
    key = case.module.data, case.original.data, case.cpuid, Case.setup
    if key not in _FOUND:
        _FOUND[key] = whole_switch(case)
    return _FOUND[key]
