"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from tests.secondsource.loading import harness


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The machine code around the switch: a CPU's start, a hostile guest."""
    return harness(tmp_path_factory.mktemp("harness"))
