"""Replaying a schedule, move by move."""

from __future__ import annotations

import pytest

from kpatch.errors import UsageError
from kpatch.verify.explore import MemoryModel, from_text, replay
from tests.verify.explore.toys import RIGHT, Toy, copy, load, pause, rest, store, switches, xchg

SB = Toy(
    [[store("x", "1"), load("a", "y")], [store("y", "1"), load("b", "x")]], {"x": "0", "y": "0"}
)


def test_a_store_stays_in_the_buffer_until_it_is_drained() -> None:
    replayed = replay(SB, from_text("0 0 1 1 0d 1d"), MemoryModel.TSO)
    assert [step.memory for step in replayed.steps] == [
        (b"0", b"0"),
        (b"0", b"0"),
        (b"0", b"0"),
        (b"0", b"0"),
        (b"1", b"0"),
        (b"1", b"1"),
    ]
    assert SB.registers(replayed.locals[0]) == {"a": "0"}
    assert SB.registers(replayed.locals[1]) == {"b": "0"}
    assert replayed.finished


def test_a_run_is_not_finished_while_a_store_waits() -> None:
    assert not replay(SB, from_text("0 0 1 1 0d"), MemoryModel.TSO).finished


def test_a_cpu_sees_its_own_newest_store_first() -> None:
    toy = Toy([[store("x", "1"), store("x", "2"), load("a", "x")]], {"x": "0"})
    replayed = replay(toy, from_text("0*3"), MemoryModel.TSO)
    assert toy.registers(replayed.locals[0]) == {"a": "2"}
    assert replayed.memory == (b"0",)


def test_under_sc_a_store_reaches_memory_at_once() -> None:
    assert replay(SB, from_text("0"), MemoryModel.SC).memory == (b"1", b"0")


def test_each_step_says_what_ran() -> None:
    steps = replay(SB, from_text("0 0d"), MemoryModel.TSO).steps
    assert [step.label for step in steps] == ["0: store x", "store reaches memory"]
    assert steps[0].trace == ("store x",)
    assert steps[1].trace == ()


def test_a_parked_guest_goes_on_where_it_was_taken() -> None:
    toy = Toy([[rest(), store("x", "me{me}")]] * 2, {"x": "0"}, moves=True)
    replayed = replay(toy, from_text("0 1 0t1 0 0 0t0 0 0"), MemoryModel.SC)
    assert replayed.memory == (b"me0",)
    assert replayed.finished


IMPOSSIBLE = {
    "2": "the host has 2 CPUs",
    "0 0 0": "the CPU has finished",
    "0d": "its store buffer is empty",
    "0t0": "the CPU has a guest",
}


@pytest.mark.parametrize("schedule", IMPOSSIBLE)
def test_a_move_that_cannot_be_made_is_refused_and_named(schedule: str) -> None:
    with pytest.raises(UsageError) as refused:
        replay(SB, from_text(schedule), MemoryModel.SC)
    assert IMPOSSIBLE[schedule] in refused.value.what
    assert refused.value.where == f"schedule, move {len(schedule.split())}"


def test_a_locked_operation_waits_for_the_own_buffer() -> None:
    toy = Toy([[store("x", "1"), xchg("a", "y", "1")]], {"x": "0", "y": "0"})
    with pytest.raises(UsageError, match="drain first"):
        replay(toy, from_text("0 0"), MemoryModel.TSO)
    assert replay(toy, from_text("0 0d 0"), MemoryModel.TSO).finished


def test_under_sc_what_is_not_locked_loads_and_stores_in_two_moves() -> None:
    toy = Toy([[copy("x", "y"), load("a", "y")], [store("x", "1")]], {"x": "0", "y": "0"})
    with pytest.raises(UsageError, match="drain first"):
        replay(toy, from_text("0 0"), MemoryModel.SC)
    replayed = replay(toy, from_text("0 1 0d 0"), MemoryModel.SC)
    assert [step.memory for step in replayed.steps[:3]] == [
        (b"0", b"0"),
        (b"1", b"0"),
        (b"1", b"0"),
    ]
    assert toy.registers(replayed.locals[0]) == {"a": "0"}
    assert replayed.finished


def test_a_guest_that_is_not_there_cannot_be_taken() -> None:
    toy = Toy([[rest(), pause()]] * 2, {"x": "0"}, moves=True)
    with pytest.raises(UsageError, match="waiting guests: 1"):
        replay(toy, from_text("0 0t1"), MemoryModel.SC)


def test_a_whole_locked_switch_replays() -> None:
    toy = switches(2, RIGHT)
    replayed = replay(toy, from_text("0*12"), MemoryModel.SC)
    assert replayed.memory == (b"0", b"tss0!")
