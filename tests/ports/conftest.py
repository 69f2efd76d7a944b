"""A hooked tree of each era, for tests that hold in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ports.harness import Tree


@pytest.fixture(params=["modern", "old"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    """A tree without the hook."""
    return Tree(tmp_path, request.param)


@pytest.fixture
def hooked(plain: Tree) -> Tree:
    """A tree with the hook, as ``kpatch hook`` says to put it there."""
    plain.hook()
    return plain
