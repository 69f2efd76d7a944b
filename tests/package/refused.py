"""A package that is refused, and the good one that the others spoil."""

from __future__ import annotations

import pytest

from kpatch.errors import KpatchError
from tests.package.makers import (
    package,
    to_patched,
)
from tests.package.whole import replace_module

GOOD = package()


def refusal(data: bytes) -> KpatchError:
    """The error for ``data``, which names the package."""
    with pytest.raises(KpatchError) as caught:
        replace_module(data, "x.pkg", to_patched)
    assert caught.value.where.startswith("x.pkg")
    assert str(caught.value).isprintable()
    assert caught.value.todo
    return caught.value
