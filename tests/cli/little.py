"""A proof of few explorations, where a test asks what a command prints or writes around a proof.

What ``apply`` proves by itself: test_people.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kpatch.cli import main, progress
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof import obligations
from kpatch.verify.proof.obligations import Obligation

if TYPE_CHECKING:  # a process of its own does without it
    import pytest

_FEW: Final = obligations.suite([LEAVE], [2], (MemoryModel.SC, MemoryModel.TSO))


def _little(**_: bool) -> tuple[Obligation, ...]:
    return _FEW


def prove_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proof of this process is a little one."""
    monkeypatch.setattr(obligations, "default_suite", _little)


def little_line(*arguments: str | Path) -> list[str | Path]:
    """The command line that calls kpatch so in a process of its own."""
    return [sys.executable, "-m", "tests.cli.little", *arguments]


if __name__ == "__main__":  # kpatch in a process of its own, which shows its progress at once
    obligations.default_suite = _little
    vars(progress)["_PATIENCE"] = 0
    main.main()
