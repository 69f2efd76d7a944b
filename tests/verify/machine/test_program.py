"""The switch as a program: verdicts on the samples, patched and not, in every scenario."""

from __future__ import annotations

import pytest

from kpatch.verify.explore.explorer import explore
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.program import OpKind
from kpatch.verify.explore.result import Answer, Result
from kpatch.verify.hardware.cpustate import Access
from kpatch.verify.machine.cells import CellRange, SharedMemory
from kpatch.verify.machine.program import Mode
from kpatch.verify.machine.scenarios import LEAVE, SCENARIOS, scenario_named
from kpatch.verify.machine.setup import Setup, Subject
from tests.verify.machine.workshop import broken, judged, patched, unpatched

ALL = [each.name for each in SCENARIOS]
MODELS = list(MemoryModel)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ALL)
def test_the_patch_is_proven_in_every_scenario(name: str, model: MemoryModel) -> None:
    result = judged(patched(), scenario_named(name), 3, model)
    assert result.verdict is Answer.PROVEN
    assert result.symmetry == "on"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["leave", "two-rounds", "moving"])
def test_the_unpatched_module_ends_with_a_wrong_tss_or_a_fault(
    name: str, model: MemoryModel
) -> None:
    assert broken(judged(unpatched(), scenario_named(name), 2, model)) == {"own-tss", "no-fault"}


@pytest.mark.parametrize("name", ["private-gdt", "private-moving", "up"])
def test_the_unpatched_module_is_right_where_the_slot_is_its_own(name: str) -> None:
    assert judged(unpatched(), scenario_named(name), 2).verdict is Answer.PROVEN


def test_the_old_path_of_the_guard_takes_the_fault_away() -> None:
    where = scenario_named("unknown-layout")
    assert broken(judged(unpatched(), where)) == {"no-fault"}
    assert judged(patched(), where).verdict is Answer.PROVEN


def test_a_patch_for_another_kernel_takes_the_old_path_too() -> None:
    result = judged(patched(cpuid=0x3C), LEAVE)
    assert broken(result) == {"own-tss"}


@pytest.mark.parametrize("name", ["kqemu-7-offsets.ko", "kqemu-7-data.ko", "kqemu-8.ko"])
def test_other_builds_are_proven_as_well(name: str) -> None:
    assert judged(unpatched(name)).verdict is Answer.VIOLATED
    assert judged(patched(name), scenario_named("moving")).verdict is Answer.PROVEN


def test_a_host_with_another_selector_and_layout_is_proven_as_well() -> None:
    subject = patched("kqemu-6.ko", 0x3C)
    for selector, offset in ((0x48, 0x3C), (0x30, 0x3C)):
        setup = Setup(subject, LEAVE, 2, cpuid_offset=offset, tr_selector=selector)
        assert (
            setup.with_program(lambda program: explore(program, Options())).verdict is Answer.PROVEN
        )


def test_sixteen_cpus_are_proven() -> None:
    assert judged(patched(), LEAVE, 16).verdict is Answer.PROVEN


def finals(subject: Subject, mode: Mode, *, reduced: bool) -> tuple[Result, set[tuple[bytes, ...]]]:
    setup = Setup(subject, LEAVE, 2, mode=mode)
    options = Options(
        por=reduced, spins=reduced, symmetry=reduced, keep_finals=True, shortest_states=1000
    )
    result = setup.with_program(lambda program: explore(program, options))
    return result, {final.memory for final in result.finals}


def test_visible_operations_show_all_that_single_instructions_show() -> None:
    coarse, coarse_finals = finals(patched(), "visible", reduced=True)
    fine, fine_finals = finals(patched(), "instruction", reduced=False)
    assert coarse.verdict is fine.verdict is Answer.PROVEN
    assert coarse_finals == fine_finals
    assert coarse.states * 100 < fine.states


def test_a_bug_is_found_by_visible_operations_and_by_single_instructions() -> None:
    coarse, _ = finals(unpatched(), "visible", reduced=True)
    fine, _ = finals(unpatched(), "instruction", reduced=False)
    assert broken(coarse) == broken(fine) == {"own-tss", "no-fault"}


def test_the_shared_cells_are_the_descriptor_and_the_lock() -> None:
    setup = Setup(patched(), LEAVE, 2)
    setup.with_program(lambda program: explore(program, Options()))
    slot = setup.world.host.slot(0).physical
    (lock,) = setup.world.lock_regions
    program = setup.program()
    places = [CellRange(slot, slot + 8), CellRange(slot + 8, slot + 12)]
    places.append(CellRange(lock.physical, lock.physical + 4))
    assert [len(value) for value in program.initial_memory()] == [8, 4, 4]
    assert setup._shared.cells == tuple(places)


def test_the_first_operation_of_every_cpu_is_local() -> None:
    program = Setup(patched(), LEAVE, 2).program()
    for cpu in range(2):
        pending = program.pending(cpu, program.initial(cpu))
        assert (pending.kind, pending.reads, pending.writes) == (OpKind.PLAIN, (), ())


def test_a_fence_is_visible_only_while_a_store_may_be_buffered() -> None:
    kinds: dict[MemoryModel, list[OpKind]] = {}
    for model in MODELS:
        program = Setup(patched(), LEAVE, 1, model=model).program()
        local, memory = program.initial(0), list(program.initial_memory())
        seen = kinds.setdefault(model, [])
        while (pending := program.pending(0, local)).kind is not OpKind.DONE:
            seen.append(pending.kind)
            outcome = program.step(0, local, tuple(memory[cell] for cell in pending.reads))
            for cell, value in outcome.writes:
                memory[cell] = value
            local = outcome.next
    fences = {model: seen.count(OpKind.SERIALIZING) for model, seen in kinds.items()}
    # ltr in both; mov cr0 behind the store that frees the lock in tso only.
    assert fences == {MemoryModel.SC: 1, MemoryModel.TSO: 2}


def access(low: int, high: int, *, write: bool) -> Access:
    return Access(0, write, low, high - low)


def test_cells_are_cut_where_accesses_begin_and_end() -> None:
    shared = SharedMemory()
    assert shared.learn([access(0x30, 0x40, write=False)]) is False
    assert not shared.cells
    assert shared.learn([access(0x30, 0x38, write=True)]) is True
    assert list(shared.cells) == [CellRange(0x30, 0x38)]
    assert shared.learn([access(0x34, 0x38, write=False)]) is True
    assert list(shared.cells) == [CellRange(0x30, 0x34), CellRange(0x34, 0x38)]
    assert shared.learn([access(0x34, 0x38, write=True)]) is False
    assert list(shared.touched([access(0x36, 0x3A, write=False)])) == [1]


def test_overlapping_writes_make_no_overlapping_cells() -> None:
    shared = SharedMemory()
    shared.learn([access(0, 8, write=True), access(4, 12, write=True), access(6, 7, write=True)])
    edges = [(cell.start, cell.end) for cell in shared.cells]
    assert edges == [(0, 4), (4, 6), (6, 7), (7, 8), (8, 12)]
