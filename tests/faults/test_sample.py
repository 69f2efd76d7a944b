"""A sample of the campaign, which runs whole by ``make faults``."""

from __future__ import annotations

import pytest

from tests.faults import short
from tests.faults.campaign import Fault, Scenario, expected, judged, points, scenarios

_FEW = {
    "apply": [("fsync", "EIO"), ("renameat2", "SIGKILL")],
    "package": [("fsync", "ENOSPC")],
    "verify": [("pipe2", "EMFILE")],
}
"""What strikes the last call of a kind, so the same on every machine."""
_CHOSEN = [each for each in scenarios() if each.name in _FEW]


@pytest.mark.parametrize("scenario", _CHOSEN, ids=lambda each: str(each.name))
def test_a_call_that_fails_leaves_the_old_file_or_the_new_one(scenario: Scenario) -> None:
    done = expected(scenario)
    last = dict(points(scenario))
    for call, what in _FEW[scenario.name]:
        fault = Fault(call, last[call], what)
        assert judged(scenario, fault, done) == "", fault.option


@pytest.mark.parametrize("scenario", _CHOSEN[:2], ids=lambda each: str(each.name))
def test_writes_that_are_taken_in_part_lose_nothing(scenario: Scenario) -> None:
    assert short.halved(scenario, expected(scenario)) == ""


def test_a_package_that_grows_over_a_limit_stays_as_it_was() -> None:
    """A module that does: tests/cli/test_interrupted.py."""
    scenario = _CHOSEN[1]
    done = expected(scenario)
    assert scenario.name == "package"
    assert short.limited(scenario, done, len(done) // 2) == ""
