"""The short way to a verdict says what the long one says, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.fast_path import ANCHOR, FIRST_PAGE, HEADER, is_nothing_for_us
from kpatch.signature.load import load_signatures

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.ko"))
OTHER = next(path for path in SAMPLES if path.name == "other.ko").read_bytes()


def told_alike(data: bytes) -> bool:
    """Is the short way taken? If so, the long one must say the same."""
    module = read_module(data, "x.ko")
    brief = is_nothing_for_us(module)
    if brief is None:
        return False
    whole = assess(module)
    assert whole.verdict is Verdict.NOT_KQEMU
    assert str(whole.refusal) == str(brief) and whole.reason == brief.what
    return True


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.name))
def test_of_the_samples_only_the_other_module_is_told_by_its_bytes(path: Path) -> None:
    assert told_alike(path.read_bytes()) == (path.name == "other.ko")


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(OTHER) - 1), st.integers(0, 255)), max_size=4))
def test_a_changed_module_is_told_as_the_long_way_tells_it(changes: list[tuple[int, int]]) -> None:
    data = bytearray(OTHER)
    for at, value in changes:
        data[at] = value
    try:
        told_alike(bytes(data))
    except DamagedFileError:
        return


def test_every_shipped_signature_looks_where_the_short_way_looks() -> None:
    for signature in load_signatures():
        rule = signature.image
        assert rule.anchor == ANCHOR
        assert rule.first_page <= FIRST_PAGE and 4 * len(rule.header) >= HEADER
        assert rule.header[0] == rule.ascending[0]
