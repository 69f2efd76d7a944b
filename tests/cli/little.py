"""A proof of few explorations, where a test asks what a command prints or writes around a proof.

What ``apply`` proves by itself: test_proof.py.
"""

from __future__ import annotations

import sys
from typing import Final

import pytest

from kpatch.cli import main, progress
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE, scenario_named
from kpatch.verify.proof import obligations

_FEW: Final = obligations.suite(
    [LEAVE, scenario_named("two-rounds")], [2], (MemoryModel.SC, MemoryModel.TSO)
)


def prove_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proof of this process is a little one."""
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: _FEW)


if __name__ == "__main__":  # kpatch in a process of its own, which shows its progress at once
    patch = pytest.MonkeyPatch()
    prove_little(patch)
    patch.setattr(progress, "_PATIENCE", 0)
    sys.exit(main.run(sys.argv[1:]))
