"""What tests of witnesses share."""

from __future__ import annotations

import pytest

from kpatch.verify.proof import workers
from tests.verify.proof.calls import whole_switch_of


@pytest.fixture
def whole_switch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the whole switch, which no witness asks about, are made once for each patch."""
    monkeypatch.setattr(workers, "whole_switch", whole_switch_of)
