"""Many files on all cores: the same results in the same order, whatever becomes of the workers."""

from __future__ import annotations

import os

import pytest

from kpatch.cli import workers
from kpatch.errors import BugError, DamagedFileError

ITEMS = list(range(100))
FIRST = os.getpid()


def squared(item: int) -> int:
    if item == 41:
        raise DamagedFileError("bad", where="41")
    if item == 43:
        raise KeyError(item)
    return item * item


def seen(action: object = squared) -> list[object]:
    return list(workers.in_order(action, ITEMS))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_cores", lambda: 3)


def check(found: list[object]) -> None:
    assert [each for each in found if isinstance(each, int)] == [
        item * item for item in ITEMS if item not in (41, 43)
    ]
    assert isinstance(found[41], DamagedFileError) and str(found[41]) == "41: bad"
    assert isinstance(found[43], BugError)


def test_results_come_in_order_and_errors_in_their_places() -> None:
    check(seen())
    assert len(set(seen(lambda _: os.getpid()))) == 3


def test_a_worker_that_dies_leaves_its_part_to_the_first_process() -> None:
    def dies(item: int) -> int:
        if item == 50 and os.getpid() != FIRST:
            os._exit(9)
        return squared(item)

    check(seen(dies))


def test_without_any_worker_the_first_process_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    check(seen())


def test_who_stops_early_leaves_no_worker_behind() -> None:
    found = workers.in_order(squared, ITEMS)
    assert next(found) == 0
    found.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
