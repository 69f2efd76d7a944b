"""Modules with a source fix: the switch, and then the fix, as kqemu_exec calls it."""

from __future__ import annotations

import pytest

from kpatch.abi.sourcefix import recognise
from kpatch.errors import UnknownModuleError
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.result import Verdict
from kpatch.verify.machine.setup import Subject
from kpatch.verify.world.world import Tail
from tests.verify.machine.workshop import (
    broken,
    judged,
    match_of,
    sample,
    scenario,
    unpatched,
    world_of,
)

FIXED = ["kqemu-7-fix-a.ko", "kqemu-7-fix-b.ko"]


def fixed(name: str, lock: str = "kqemu_lock") -> Subject:
    """The module, with its fix behind the switch."""
    fix = recognise(sample(name))
    assert fix is not None
    assert fix.function is not None
    tail = Tail(fix.function.section, fix.function.offset, lock)
    return Subject.of(sample(name), match_of(name).image, tail=tail)


@pytest.mark.parametrize("model", list(MemoryModel))
@pytest.mark.parametrize("name", FIXED)
def test_the_fix_gives_every_cpu_its_own_tss_but_leaves_the_race(
    name: str, model: MemoryModel
) -> None:
    result = judged(fixed(name), model=model)
    # What `and dword [slot+4]` stores late brings back half of another CPU's base.
    assert {"no-fault"} <= broken(result) <= {"no-fault", "descriptor"}
    fault = next(found for found in result.counterexamples if found.prop == "no-fault")
    assert "#GP" in fault.what
    assert "ltr" in fault.what


@pytest.mark.parametrize("name", FIXED)
def test_the_fix_is_right_for_one_cpu(name: str) -> None:
    assert judged(fixed(name), scenario("up")).verdict is Verdict.PROVEN


@pytest.mark.parametrize("name", FIXED)
def test_on_private_tables_the_fix_writes_the_slot_of_cpu_0(name: str) -> None:
    result = judged(fixed(name), scenario("private-gdt"))
    assert broken(result) == {"footprint"}
    assert "host GDT" in result.counterexamples[0].what
    assert result.symmetry.startswith("broken")


def test_without_its_fix_the_same_module_is_wrong() -> None:
    assert "own-tss" in broken(judged(unpatched(FIXED[0])))


def test_a_fix_whose_lock_cannot_be_found_is_not_emulated() -> None:
    with pytest.raises(UnknownModuleError, match="no symbol other_lock"):
        world_of(fixed(FIXED[0], "other_lock"))
