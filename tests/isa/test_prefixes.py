"""Prefixes of which no manual says what comes of them."""

from __future__ import annotations

import pytest

from kpatch.isa.prefixes import contradict


@pytest.mark.parametrize(
    "code", ["64658b01", "653e8b01", "f3f090", "f2f38b01", "48668b01", "48658b01", "41488b01"]
)
def test_two_of_a_group_contradict_each_other_and_nothing_stands_behind_rex(code: str) -> None:
    assert contradict(bytes.fromhex(code))


@pytest.mark.parametrize(
    "code", ["8b01", "66666690", "662e0f1f840000000000", "f0480fc111", "65488b01", "f390", "f3c3"]
)
def test_one_of_each_group_or_the_same_again_is_what_compilers_write(code: str) -> None:
    assert not contradict(bytes.fromhex(code))
