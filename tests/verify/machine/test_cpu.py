"""One CPU: snapshots, steps that repeat, budgets, the hosts that it boots in."""

from __future__ import annotations

import random

import pytest

from kpatch.errors import UsageError
from kpatch.units import PAGE
from kpatch.verify.hardware.cpustate import EVERYWHERE, Snapshot
from kpatch.verify.hardware.descriptors import BUSY, parse
from kpatch.verify.machine.scenarios import LEAVE, scenario_named
from kpatch.verify.machine.window import window
from kpatch.verify.world.host import HostModel
from kpatch.verify.world.kernel_text import RETURN_AT
from tests.verify.machine.workshop import patched, unpatched, world_of


@pytest.mark.parametrize("cpus", [1, 2, 16])
def test_the_boot_leaves_the_last_cpu_in_the_shared_descriptor(cpus: int) -> None:
    world = world_of(unpatched(), HostModel(cpus))
    engine = world.engine()
    tasks = [world.boot(engine, cpu).registers.table("tr").base for cpu in range(cpus)]
    slot = world.host.slot(0)
    descriptor = parse(world.host.arena.read(slot.physical, slot.size))
    assert tasks == [world.model.tss_of(cpu) for cpu in range(cpus)]
    assert (descriptor.base, descriptor.type) == (tasks[-1], BUSY)


def test_on_private_tables_every_cpu_boots_with_its_own() -> None:
    world = world_of(unpatched(), HostModel(3, gdt="private", tr_selector=0x48))
    engine = world.engine()
    for cpu in range(3):
        registers = world.boot(engine, cpu).registers
        assert registers.table("gdtr").base == world.model.gdt_of(cpu)
        assert (registers["cs"], registers["ss"]) == (0x20, 0x28)
    for cpu in range(3):
        slot = world.host.slot(cpu)
        descriptor = parse(world.host.arena.read(slot.physical, slot.size))
        assert descriptor.base == world.model.tss_of(cpu)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0x34, (1, 2, 0b1101)), (0x3C, (1, 2, 0b1101)), (None, None)]
)
def test_struct_pcpu_has_the_number_where_the_host_says(
    offset: int | None, expected: tuple[int, int, int] | None
) -> None:
    world = world_of(unpatched(), HostModel(4, cpuid_offset=offset))
    page = world.host.arena.read(world.host.pcpu.physical + PAGE, PAGE)
    words = [int.from_bytes(page[at : at + 4], "little") for at in range(8, PAGE, 4)]
    if offset is not None:
        at = offset // 4 - 2
        assert tuple(words[at : at + 3]) == expected
        words[at : at + 3] = []
    assert min(words) > 1 << 31
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("cpus", "selector", "offset"),
    [(0, 0x30, 0x34), (17, 0x30, 0x34), (2, 0x38, 0x34), (2, 0x30, 0)],
)
def test_a_host_that_cannot_be_is_refused(cpus: int, selector: int, offset: int) -> None:
    with pytest.raises(UsageError):
        HostModel(cpus, tr_selector=selector, cpuid_offset=offset)


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko", "kqemu-7-norela.ko"])
def test_the_switch_runs_from_call_to_return(name: str) -> None:
    world = world_of(unpatched(name))
    engine = world.engine()
    called = [world.boot(engine, cpu) for cpu in range(2)][1]
    run = engine.run(world.territory(1), {RETURN_AT})
    after = engine.registers
    labels = [engine.info(address).label for address in run.trace]
    assert run.failure is None
    assert after["rip"] == RETURN_AT
    assert after["rsp"] == called.registers["rsp"] + 8
    assert any(label.startswith("monitor image+") for label in labels)
    assert any(label.startswith("guest+") for label in labels)
    assert [each.task.base for each in run.loaded] == [
        world.guest.tss.virtual,
        world.model.tss_of(1),
    ]


def test_the_guest_returns_with_everything_hostile() -> None:
    world = world_of(unpatched())
    engine = world.engine()
    world.boot(engine, 0)
    world.boot(engine, 1)
    engine.run(world.territory(1), {RETURN_AT})
    after = engine.registers
    assert after["gs_base"] == after["fs_base"] != world.model.pcpu_of(1)
    assert (after["ds"], after["es"], after["fs"], after["gs"]) == (0x0B,) * 4
    assert after["rflags"] & 0x24_3000 == 0x24_3000


def walk(steps: int) -> list[Snapshot]:
    """Snapshots of every instruction of a patched switch, of both CPUs in turn."""
    world = world_of(patched())
    engine = world.engine()
    snapshots = [world.boot(engine, cpu) for cpu in range(2)]
    for number in range(steps):
        engine.load(snapshots[-2], world.territory(number % 2))
        engine.run(world.territory(number % 2), EVERYWHERE)
        snapshots.append(engine.save(world.territory(number % 2)))
    return snapshots


def test_the_same_steps_on_another_engine_give_the_same_states() -> None:
    assert walk(240) == walk(240)


def test_a_step_gives_the_same_result_whatever_ran_before_it() -> None:
    world = world_of(patched())
    engine = world.engine()
    territory = world.territory(0)
    state, _ = [world.boot(engine, cpu) for cpu in range(2)]
    memory = world.host.arena.read(world.host.gdt.physical, PAGE)
    path = []
    for _ in range(230):
        engine.load(state, territory)
        engine.run(territory, EVERYWHERE)
        following = engine.save(territory)
        shared = world.host.arena.read(world.host.gdt.physical, PAGE)
        path.append((state, memory, following, shared))
        state, memory = following, shared
    chance = random.Random(7)
    chance.shuffle(path)
    for before, memory, following, shared in path:
        world.host.arena.write(world.host.gdt.physical, memory)
        engine.load(before, territory)
        engine.run(territory, EVERYWHERE)
        assert engine.save(territory) == following
        assert world.host.arena.read(world.host.gdt.physical, PAGE) == shared


def test_only_private_memory_that_changed_is_in_a_snapshot() -> None:
    world = world_of(unpatched())
    engine = world.engine()
    called = world.boot(engine, 0)
    engine.run(world.territory(0), {RETURN_AT})
    after = engine.save(world.territory(0))
    assert called.chunks == ()
    assert 0 < len(after.chunks) < 32


def test_a_run_that_exceeds_its_budget_fails() -> None:
    world = world_of(unpatched())
    engine = world.engine()
    world.boot(engine, 0)
    run = engine.run(world.territory(0), {RETURN_AT}, budget=50)
    assert run.failure is not None
    assert run.failure.prop == "progress"
    assert len(run.trace) == 51


def test_the_window_of_the_unpatched_module_is_from_cr3_to_ltr() -> None:
    world = world_of(unpatched(), LEAVE.host(2))
    engine = world.engine()
    for cpu in range(2):
        world.boot(engine, cpu)
    run = engine.run(world.territory(1), {RETURN_AT})
    labels = [engine.info(address).label for address in run.trace]
    last = {
        what: max(n for n, label in enumerate(labels) if what in label)
        for what in ("mov cr3", "ltr")
    }
    assert window(world) == last["ltr"] - last["mov cr3"]


def test_the_window_of_the_patch_is_longer_by_what_its_trampoline_does() -> None:
    before = window(world_of(unpatched(), LEAVE.host(2)))
    after = window(world_of(patched(), LEAVE.host(2)))
    assert before is not None
    assert after is not None
    assert before < after <= before + 48


@pytest.mark.parametrize("name", ["private-gdt", "up"])
def test_the_window_is_the_same_on_every_host(name: str) -> None:
    counted = window(world_of(patched(), scenario_named(name).host(2)))
    assert counted == window(world_of(patched(), LEAVE.host(2)))
