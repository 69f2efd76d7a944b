"""The lines of a proof that a whole run seldom shows."""

from __future__ import annotations

from kpatch.report.proof_text import window_line
from kpatch.report.style import Style


def test_a_switch_that_does_not_return_has_no_number_of_instructions() -> None:
    line = window_line(
        {"patched": None, "unpatched": 16, "bound": 32, "holds": False}, Style(colour=False)
    )
    assert line == "the patched switch does not return, unpatched 16, bound +32: TOO LONG"
