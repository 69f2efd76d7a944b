"""What is not asked anew in each test of a proof."""

from __future__ import annotations

import pytest

from kpatch.verify.proof import workers
from tests.verify.proof.calls import whole_switch_of


@pytest.fixture(autouse=True)
def whole_switch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the whole switch, made once for each patch: they take half of a short proof.

    They depend on the patch alone, and what is tested here are options, bounds and texts. What the
    checks find: tests/verify/mutants/test_whole_switch.py.
    """
    monkeypatch.setattr(workers, "whole_switch", whole_switch_of)
