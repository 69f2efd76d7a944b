"""Schedules as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.errors import UsageError
from kpatch.verify.explore import Move, MoveKind, from_text, to_text

cpus = st.integers(0, 31)
moves = st.one_of(
    st.builds(Move, cpus),
    st.builds(Move, cpus, st.just(MoveKind.DRAIN)),
    st.builds(Move, cpus, st.just(MoveKind.TAKE), st.integers(0, 31)),
)


@given(schedule=st.lists(moves).map(tuple))
def test_a_schedule_survives_the_way_through_text(schedule: tuple[Move, ...]) -> None:
    assert from_text(to_text(schedule)) == schedule


def test_a_schedule_reads_as_documented() -> None:
    assert from_text("0 0 1 1d 0 2t1") == (
        Move(0),
        Move(0),
        Move(1),
        Move(1, MoveKind.DRAIN),
        Move(0),
        Move(2, MoveKind.TAKE, 1),
    )


def test_repeated_moves_are_written_with_a_count() -> None:
    assert to_text((Move(3),) * 5 + (Move(1, MoveKind.DRAIN),) * 2) == "3*5 1d*2"


def test_an_empty_schedule_is_an_empty_text() -> None:
    assert from_text(" \n ") == ()
    assert to_text(()) == ""


@pytest.mark.parametrize("text", ["x", "0 -1", "0dd", "0t", "1t2d", "0*", "0**2", "99999"])
def test_a_word_that_is_no_move_is_refused_and_shown(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_text(text)
    assert text.split()[-1] in refused.value.what


def test_a_count_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(UsageError):
        from_text("0*999999999")
