"""What kpatch makes, judged by an emulation that shares nothing with it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from tests.secondsource.build import build, fields_of
from tests.secondsource.places import Host
from tests.secondsource.referee import Machine
from tests.secondsource.schedules import ALL, Schedule, drawn, one_preemption, two_preemptions

SAMPLES = Path(__file__).parents[2] / "samples"
COMMON = fields_of({})
OTHER = {
    "M_STATE": 0xC0,
    "K_STATE": 0xC8,
    "M_IDT": 0x8C,
    "M_GDT": 0x96,
    "M_LDT": 0xA0,
    "M_DS": 0xA2,
    "M_JMP": 0xB0,
    "M_CS": 0xB8,
    "M_TR": 0xBA,
    "M_CR3": 0xD0,
    "M_DR7": 0xD8,
    "M_RSP": 0xE0,
    "M_TSS": 0x120,
    "K_IDT": 0x100,
    "K_GDT": 0x7E,
    "K_TR": 0x1C,
    "K_LDT": 0x4A,
    "K_RSP": 0x10,
    "K_SS": 0x20,
    "K_CS": 0x28,
    "K_CR0": 0x30,
    "K_CR3": 0x38,
    "K_CR4": 0x40,
    "K_NEXUS": 0x58,
}
"""Where the fields of kqemu-7-offsets.ko lie."""
TAKE_LOCK, TAKE_NOTHING = (
    bytes.fromhex("458708"),
    bytes.fromhex("4531c9"),
)  # xchg [r8], r9d; xor r9d, r9d


class Subject(NamedTuple):
    """A module before and after, and what it takes to run it."""

    before: bytes
    after: bytes
    header: tuple[int, ...]
    fields: Mapping[str, int]
    cpuid: int = 0x34
    selector: int = 0x30


def subject(
    path: Path, fields: Mapping[str, int], cpuid: int = 0x34, selector: int = 0x30
) -> Subject:
    module = read_module(path.read_bytes(), path.name)
    assessment = assess(module)
    assert assessment.match is not None
    image = assessment.match.image
    header = struct.unpack_from("<5I", module.data, image.start)
    return Subject(module.data, apply_plan(prepare(assessment)), header, fields, cpuid, selector)


@pytest.fixture(
    scope="module", params=["own", "kqemu-7.ko", "kqemu-6.ko", "kqemu-8.ko", "kqemu-7-offsets.ko"]
)
def under_test(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    if request.param == "own":
        return subject(build(tmp_path_factory.mktemp("own")), COMMON)
    fields = OTHER if "offsets" in request.param else COMMON
    cpuid, selector = (
        (0x3C if "6" in request.param else 0x34),
        (0x48 if "8" in request.param else 0x30),
    )
    return subject(SAMPLES / request.param, fields, cpuid, selector)


def faults(machine: Machine, schedules: Iterable[Schedule], rounds: int = 1) -> set[str]:
    """What went wrong under any of the schedules, without its numbers."""
    return {
        re.sub("0x[0-9a-f]+", "N", finding.wrong)
        for each in schedules
        for finding in machine.run(each, rounds)
    }


WRONG_TSS = "TR is at N, not at this CPU's TSS"


def test_the_unpatched_module_comes_back_with_another_tss(under_test: Subject, code: bytes) -> None:
    host = Host(True, under_test.cpuid, under_test.selector)
    machine = Machine(under_test.before, under_test.header, under_test.fields, code, 2, host)
    length = machine.length()
    assert faults(machine, [[]]) == {WRONG_TSS}
    found = faults(
        machine, two_preemptions(range(length - 14, length - 9), range(length - 14, length))
    )
    assert any("exception 13" in why or "halted" in why for why in found), (
        "the race for the busy bit"
    )


def test_two_cpus_come_back_right_under_every_schedule_tried(
    under_test: Subject, code: bytes
) -> None:
    host = Host(True, under_test.cpuid, under_test.selector)
    machine = Machine(under_test.after, under_test.header, under_test.fields, code, 2, host)
    length = machine.length()
    exit_ = range(length - 90, length)
    lock = range(length - 62, length - 30, 4)
    schedules = chain(one_preemption(exit_), two_preemptions(lock, lock), drawn(1, 2, length, 20))
    assert faults(machine, schedules) == set()


def test_three_cpus_come_back_right_twice(under_test: Subject, code: bytes) -> None:
    host = Host(True, under_test.cpuid, under_test.selector)
    machine = Machine(under_test.after, under_test.header, under_test.fields, code, 3, host)
    assert faults(machine, drawn(2, 3, machine.length(), 20), rounds=2) == set()


def test_private_tables_stay_as_they_are(under_test: Subject, code: bytes) -> None:
    host = Host(False, under_test.cpuid, under_test.selector)
    machine = Machine(under_test.after, under_test.header, under_test.fields, code, 2, host)
    assert faults(machine, drawn(3, 2, machine.length(), 10)) == set()


def test_a_kernel_with_another_pcpu_gets_the_old_way(under_test: Subject, code: bytes) -> None:
    host = Host(True, None, under_test.selector)
    one = Machine(under_test.after, under_test.header, under_test.fields, code, 1, host)
    assert faults(one, [[]], rounds=3) == set()
    two = Machine(under_test.after, under_test.header, under_test.fields, code, 2, host)
    assert faults(two, drawn(4, 2, two.length(), 10)) == {WRONG_TSS}


def test_the_same_patch_without_its_lock_is_caught(under_test: Subject, code: bytes) -> None:
    assert under_test.after.count(TAKE_LOCK) == 1
    host = Host(True, under_test.cpuid, under_test.selector)
    unlocked = under_test.after.replace(TAKE_LOCK, TAKE_NOTHING)
    machine = Machine(unlocked, under_test.header, under_test.fields, code, 2, host)
    length = machine.length()
    found = faults(machine, one_preemption(range(length - 60, length)))
    assert found and all("halted" in why or "exception" in why or why == WRONG_TSS for why in found)


def test_cpus_that_take_turns_all_come_back(under_test: Subject, code: bytes) -> None:
    host = Host(True, under_test.cpuid, under_test.selector)
    machine = Machine(under_test.after, under_test.header, under_test.fields, code, 4, host)
    in_step = [(cpu, 1) for _ in range(ALL) for cpu in range(4)]
    assert faults(machine, [in_step]) == set()
