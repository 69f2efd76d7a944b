"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from tests.hostile.answering import load_everything


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the commands import is here before the first child."""
    load_everything(tmp_path_factory.mktemp("loaded"))
