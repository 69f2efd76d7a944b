"""The replay on engines that share one memory against the memoised steps of the exploration."""

from __future__ import annotations

import random

import pytest

from kpatch.errors import UsageError
from kpatch.verify.explore.explorer import explore
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.replay import ConcreteRun
from kpatch.verify.explore.schedule import Move, MoveKind, Schedule, from_text
from kpatch.verify.hardware.descriptors import BUSY, parse, tss_descriptor
from kpatch.verify.machine.live import LiveMachine
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.machine.setup import Setup, Subject
from tests.verify.machine.workshop import patched, unpatched, with_exit_code

MODELS = list(MemoryModel)


def explored(subject: Subject, name: str, cpus: int, model: MemoryModel) -> tuple[Setup, list[str]]:
    """A setup whose shared memory is known, and the schedules of its counterexamples."""
    setup = Setup(subject, scenario_named(name), cpus, model=model)
    result = setup.with_program(lambda program: explore(program, Options(model=model)))
    return setup, [f"{found.prop}: {found.schedule}" for found in result.counterexamples]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["leave", "two-rounds", "moving", "unknown-layout"])
def test_every_counterexample_is_confirmed(name: str, model: MemoryModel) -> None:
    setup, found = explored(unpatched(), name, 3, model)
    assert found
    for each in found:
        prop, _, schedule = each.partition(": ")
        steps = setup.replay_live(from_text(schedule))
        assert [violation.prop for violation in steps[-1].violations] == [prop]
        assert not any(step.violations for step in steps[:-1])


def test_the_race_is_shown_with_its_descriptor_and_task_registers() -> None:
    setup, found = explored(unpatched(), "leave", 2, MemoryModel.SC)
    host = setup.world.model
    schedule = next(each for each in found if each.startswith("no-fault"))
    steps = setup.replay_live(from_text(schedule.partition(": ")[2]))
    assert "ltr ax" in steps[-1].trace[-1]
    assert str(steps[-1].descriptors[0]).endswith("busy")
    assert [step.descriptors[0].type for step in steps][-3:].count(0xB) >= 1
    assert set(steps[-1].tasks) <= {host.tss_of(0), host.tss_of(1), setup.world.guest.tss.virtual}


def random_schedule(setup: Setup, model: MemoryModel, seed: int, length: int) -> Schedule:
    """Moves that can be made, chosen by chance."""
    chance = random.Random(seed)
    run = ConcreteRun(setup.program(), model)
    moves: list[Move] = []
    while len(moves) < length and not run.finished:
        cpu = chance.randrange(run.program.cpus)
        choices = [
            Move(cpu),
            Move(cpu, MoveKind.DRAIN),
            *(Move(cpu, MoveKind.TAKE, guest) for guest in range(len(run.pool))),
        ]
        possible = [move for move in choices if not run.obstacle(move)]
        if possible:
            moves.append(chance.choice(possible))
            run.make(moves[-1])
    return tuple(moves)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["two-rounds", "moving", "private-moving", "unknown-layout"])
def test_engines_that_share_memory_do_what_the_memoised_steps_do(
    name: str, model: MemoryModel
) -> None:
    setup, _ = explored(patched(), name, 3, model)
    for seed in range(3):
        schedule = random_schedule(setup, model, seed, 120)
        memoised = ConcreteRun(setup.program(), model)
        cells = setup._shared.cells
        live = setup.replay_live(schedule)
        for move, step in zip(schedule, live, strict=True):
            expected = memoised.make(move)
            assert not step.trace or step.trace == expected.trace
            assert step.violations == expected.violations
            assert step.buffered == tuple(len(buffer) for buffer in memoised.buffers)
            slot = setup.world.shared_slot
            if slot is not None:
                raw = bytearray(tss_descriptor(setup.world.model.tss_of(2), BUSY))
                for cell, value in zip(cells, expected.memory, strict=True):
                    if slot.physical <= cell.start < slot.physical + slot.size:
                        at = cell.start - slot.physical
                        raw[at : at + len(value)] = value
                assert step.descriptors == (parse(bytes(raw)),)


@pytest.mark.parametrize("model", MODELS)
def test_a_long_random_run_of_the_patch_ends_with_every_cpu_in_its_own_tss(
    model: MemoryModel,
) -> None:
    setup, found = explored(patched(), "two-rounds", 4, model)
    assert found == []
    schedule = random_schedule(setup, model, 1, 10_000)
    last = setup.replay_live(schedule)[-1]
    host = setup.world.model
    assert list(last.tasks) == [host.tss_of(cpu) for cpu in range(4)]
    assert sum(last.buffered) == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2", "the host has 2 CPUs"),
        ("0*5 0d*2 0*2 0d 0*60", "the CPU has finished"),
        ("0*60", "its store buffer has to drain first"),
        ("0d", "its store buffer is empty"),
        ("0t0", "the CPU has a guest"),
    ],
)
def test_a_move_that_cannot_be_made_is_named(text: str, problem: str) -> None:
    setup, _ = explored(patched(), "leave", 2, MemoryModel.TSO)
    schedule = from_text(text)
    with pytest.raises(UsageError, match=problem):
        setup.replay_live(schedule)
    live = LiveMachine(setup.world, setup.scenario, setup._shared, store_buffers=True)
    with pytest.raises(UsageError, match=problem):
        live.make_moves(schedule)


def test_a_fault_stops_its_cpu_and_no_other() -> None:
    setup, _ = explored(with_exit_code("ud2"), "leave", 2, MemoryModel.SC)
    steps = setup.replay_live(from_text("0 1"))
    assert [step.violations[0].prop for step in steps] == ["no-fault", "no-fault"]
    with pytest.raises(UsageError, match="the CPU is at fault"):
        setup.replay_live(from_text("0 0"))


def test_a_schedule_replays_without_an_exploration_before_it() -> None:
    setup = Setup(unpatched(), scenario_named("leave"), 2)
    steps = setup.replay_live(from_text("0*2 0d 1*2 1d 1 0"))
    assert [violation.prop for violation in steps[-1].violations] == ["no-fault"]
    waits = Setup(patched(), scenario_named("leave"), 2).replay_live(from_text("0*2 1*20"))
    assert sum("pause" in step.trace[0] for step in waits if step.trace) >= 2


def test_a_cpu_sees_its_own_stores_before_the_others_do() -> None:
    code = (
        "mov ecx, 0x30; add rcx, [rdi + 0x84]; and dword ptr [rcx + 4], 0xfffffdff;"
        "test dword ptr [rcx + 4], 0x200; je seen; ud2; seen: mov eax, 0x30; ltr ax"
    )
    setup = Setup(with_exit_code(code), scenario_named("up"), 1, model=MemoryModel.TSO)
    steps = setup.replay_live(from_text("0*3"))
    assert steps[-1].buffered == (1,)
    assert not steps[-1].violations


def test_tr_stays_as_it_was_found_between_two_rounds() -> None:
    setup, _ = explored(patched(), "unknown-layout", 3, MemoryModel.SC)
    last = setup.replay_live(random_schedule(setup, MemoryModel.SC, 3, 10_000))[-1]
    assert set(last.tasks) == {setup.world.model.tss_of(2)}


def test_a_replay_can_be_repeated() -> None:
    setup, _ = explored(unpatched(), "leave", 2, MemoryModel.SC)
    schedule = from_text("0*2 0d 1*2 1d 1 0")
    assert setup.replay_live(schedule) == setup.replay_live(schedule)
