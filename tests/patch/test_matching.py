"""What was learnt of a file serves the next with the same bytes, and no other."""

from __future__ import annotations

import gc
import weakref

import pytest

from kpatch.elf.module import read_module
from kpatch.patch import matching
from kpatch.patch.assess import assess
from kpatch.signature.load import load_signatures
from tests.cli.harness import sample


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    matching._known.clear()


def test_the_same_bytes_are_searched_once_whatever_the_file_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = sample("kqemu-7.ko").read_bytes()
    first = assess(read_module(data, "first.ko"))
    monkeypatch.setattr(matching, "find_any", lambda *_: pytest.fail("searched again"))
    second = assess(read_module(data, "second.ko"))
    assert (second.match, second.verdict) == (first.match, first.verdict)


def test_a_remembered_refusal_is_said_of_the_file_that_is_asked_about() -> None:
    data = sample("kqemu-unknown.ko").read_bytes()
    refusals = [assess(read_module(data, name)).refusal for name in ("first.ko", "second.ko")]
    first, second = (str(each) for each in refusals)
    assert first.startswith("first.ko") and "first.ko" not in second
    assert second == first.replace("first.ko", "second.ko")


def test_other_bytes_or_other_signatures_are_searched_anew() -> None:
    data = sample("kqemu-7.ko").read_bytes()
    found, _ = matching.match_of(read_module(data), load_signatures())
    assert found is not None
    start = found.image.start
    changed = data[:start] + bytes(20) + data[start + 20 :]
    assert matching.match_of(read_module(changed), load_signatures())[0] is None
    other = tuple(each for each in load_signatures() if each is not found.signature)
    again, _ = matching.match_of(read_module(data), other)
    assert again is None or again.signature is not found.signature
    assert matching.match_of(read_module(data), load_signatures())[0] == found


def test_only_so_many_bytes_are_remembered_the_latest_ones() -> None:
    known = matching._Known((), None, None)
    pieces = [bytes([number]) * (matching._MOST // 4) for number in range(9)]
    for data in (*pieces, bytes(matching._MOST + 1)):
        matching._remember(data, known)
    assert list(matching._known) == pieces[-4:]


@pytest.mark.parametrize("name", ["kqemu-7-ambiguous.ko", "kqemu-unknown.ko", "other.ko"])
def test_a_module_is_gone_as_soon_as_nobody_has_its_verdict(name: str) -> None:
    module = read_module(sample(name).read_bytes(), name)
    left = weakref.ref(module)
    gc.disable()  # in a folder it comes too late: a hundred modules would wait for it
    try:
        assert assess(module).refusal is not None
        del module
        assert left() is None
    finally:
        gc.enable()
