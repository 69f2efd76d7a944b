"""What is not asked anew in each test of a proof."""

from __future__ import annotations

import pytest

from kpatch.verify.proof import workers
from kpatch.verify.proof.tasks import Case
from kpatch.verify.proof.whole_switch import Whole, whole_switch

_FOUND: dict[tuple[object, ...], Whole] = {}


@pytest.fixture(autouse=True)
def whole_switch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the whole switch, made once for each patch: they take half of a short proof.

    They depend on the patch alone, and what is tested here are options, bounds and texts. What the
    checks find: tests/verify/mutants/test_whole_switch.py.
    """
    monkeypatch.setattr(workers, "whole_switch", _found)


def _found(case: Case) -> Whole:
    # A test may have replaced how a machine is set up.
    key = case.module.data, case.original.data, case.cpuid, Case.setup
    if key not in _FOUND:
        _FOUND[key] = whole_switch(case)
    return _FOUND[key]
