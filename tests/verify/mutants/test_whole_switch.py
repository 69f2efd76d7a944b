"""What the checks of the whole switch find, and what they let pass."""

from __future__ import annotations

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.module import read_module
from kpatch.isa.agreed import effects_of
from kpatch.isa.decode import decode_one
from kpatch.isa.effects import FLAG_NAMES
from kpatch.verify.explore.bound import BoundKind
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.machine.pretences import Mistaken
from kpatch.verify.proof.checks import SENTENCES, Check
from kpatch.verify.proof.tasks import Bounds, Case
from kpatch.verify.proof.verdict import Proof
from kpatch.verify.proof.whole_switch import (
    each_number_of,
    inputs_of,
    mistaken_of,
    run_checks,
    same_effect_of,
    whole_switch,
)
from kpatch.verify.world.filled import Filled, FilledField
from kpatch.verify.world.origins import NONE, Machine, known, number
from kpatch.verify.world.places import Places
from kpatch.verify.world.sinks import is_repeated
from kpatch.verify.world.transfer import _SUMS, Transfer
from tests.verify.mutants.changes import CPUID, Lines, before
from tests.verify.mutants.guards import (
    BROAD,
    ELSEWHERE,
    LONG,
    NARROW,
    NEW_WAYS,
    NUMBERS,
    elsewhere,
)
from tests.verify.mutants.harmless import FENCED, HARMLESS
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.odd import KEPT, RIGHT_ODD, UNTOLD
from tests.verify.mutants.variant import LEAVE, RIGHT, Variant
from tests.verify.mutants.whole_switch import WRONG
from tests.verify.mutants.wrong import READS, SAME, Wrong


def checked(case: Case) -> tuple[Check, ...]:
    """The checks, on one host."""
    return (*inputs_of(case), *same_effect_of(case, (LEAVE,)))


@pytest.mark.parametrize("mutant", WRONG, ids=lambda each: each.name)
def test_a_wrong_patch_breaks_the_property_that_it_should(mutant: Wrong) -> None:
    case = mutant.variant.case
    of_runs = mutant.broken in (SAME, READS)
    checks = same_effect_of(case, (LEAVE,)) if of_runs else inputs_of(case)
    assert mutant.broken in [each.name for each in checks if each.wrong]


@pytest.mark.parametrize("variant", BROAD, ids=lambda each: each.name)
def test_a_struct_pcpu_that_is_taken_for_another_is_found(variant: Variant) -> None:
    assert mistaken_of(variant.case).wrong.startswith("with 0x")


@pytest.mark.parametrize("variant", NUMBERS, ids=lambda each: each.name)
def test_the_tss_of_another_cpu_is_found_for_each_number(variant: Variant) -> None:
    (wrong,) = each_number_of(variant.case).found.wrong
    assert wrong.startswith("with 0x")


@pytest.mark.parametrize("variant", NEW_WAYS, ids=lambda each: each.name)
def test_what_cpus_that_no_host_has_do_otherwise_is_not_proven(variant: Variant) -> None:
    found = each_number_of(variant.case).found
    assert not found.wrong
    number = variant.name.split()[-2]
    assert found.unknown[0] == f"what CPU {number} does, which no explored one does"


@pytest.mark.parametrize(("broken", "name", "code"), ELSEWHERE, ids=lambda each: each)
def test_what_other_cpus_than_the_first_do_is_found(broken: str, name: str, code: str) -> None:
    found = each_number_of(elsewhere(name, code).case).found
    assert bool(found.reads) == (broken == READS)
    assert bool(found.wrong) == (broken == SAME)


def test_the_window_is_that_of_the_cpu_that_takes_longest() -> None:
    assert not whole_switch(LONG.case).window.holds
    assert each_number_of(RIGHT.case).window == whole_switch(RIGHT.case).window.patched == 43


def test_what_a_cpu_runs_beside_the_ways_that_were_followed_is_not_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dataflow that calculates otherwise than a CPU does is made here: 1 << 32 was 0 in it."""
    shifted = "mov r8d, 2; shl r8d, 32; add r8d, 8"
    code = f"{shifted}; call next; next:; pop r9; add r9, r8; jmp r9; jmp fine; nop; fine:"
    changes = (leave(code),)
    case = Variant("behind a shift", changes).case
    ran = each_number_of(case).ran
    assert [each.reason for each in inputs_of(case, ran) if not each.holds] == []
    monkeypatch.setitem(_SUMS, "shl", lambda number, count: number << count if count else 0)
    assert [each.reason for each in inputs_of(case) if not each.holds] == []
    (inputs, *_) = inputs_of(case, ran)
    assert [why.rpartition(" ")[0] for why in inputs.unknown] == ["how a CPU comes to"]
    bound = Variant("the same", changes).explored(LEAVE).result.bound
    assert bound is not None and bound.kind is BoundKind.NOT_FOLLOWED


def test_a_symbol_that_no_kernel_is_known_to_have_is_not_proven() -> None:
    case = Variant("a symbol", (entry("movabs rdx, =kpatch_nobody"),)).case
    (inputs, *_) = inputs_of(case)
    assert inputs.unknown == ("whether a kernel has 'kpatch_nobody', which the patch asks for",)


def test_where_a_leave_of_two_bytes_puts_the_stack_is_not_known() -> None:
    case, raw = RIGHT.case, bytes.fromhex("66c9")
    places = Places(case.setup(case.module, LEAVE, Bounds()).world, case.module, CPUID)
    machine = Machine(dict.fromkeys(GENERAL, known(0)), dict.fromkeys(FLAG_NAMES, NONE))
    instruction = decode_one(raw, 0)
    merged = effects_of(raw)
    assert instruction is not None and merged is not None
    step = Transfer(places, machine, instruction, merged.effects, kernel=True, patch=True)
    assert number(step.run().registers["rsp"]) is None


@pytest.mark.parametrize("code", ["or rsp, 0x40", "xor rsp, 0x40; or rsp, 0x40"])
def test_what_bits_of_the_stacks_address_make_of_it_is_not_known(code: str) -> None:
    (inputs, *_) = inputs_of(Variant("bits of the stack's address", (leave(code),)).case)
    assert inputs.unknown[0].startswith("where the stack is after")


@pytest.mark.parametrize(("code", "repeated"), [("f3c3", False), ("f348a5", True), ("f2ae", True)])
def test_a_return_with_a_prefix_is_not_repeated(code: str, repeated: bool) -> None:
    instruction = decode_one(bytes.fromhex(code), 0)
    assert instruction is not None
    assert is_repeated(instruction) == repeated


def test_what_two_prefixes_of_one_group_do_is_not_defined() -> None:
    mask = "mov edx, gs:[rdx + $cpuid + 4]"
    module = Variant("a prefix", (before(mask, "nop"),)).case.module
    one, two = bytes.fromhex("90658b5238"), bytes.fromhex("64658b5238")
    assert module.data.count(one) == 1
    other = read_module(module.data.replace(one, two), "two prefixes")
    (*_, defined) = inputs_of(Case(other, RIGHT.case.original, RIGHT.case.match, CPUID))
    (wrong,) = defined.wrong
    assert wrong.endswith("has prefixes that contradict each other")


@pytest.mark.parametrize(
    ("code", "at", "width", "kind", "another"),
    [
        ("49bb0000000000000000", 2, 8, elf.R_X86_64_64, False),  # movabs r11, 0
        ("49c7c100000000", 3, 4, elf.R_X86_64_32S, False),  # mov r9, 0
        ("8b0500000000", 2, 4, elf.R_X86_64_PC32, False),  # mov eax, [rip]
        ("e900000000", 1, 4, elf.R_X86_64_PC32, False),  # jmp
        ("e900000000", 1, 4, elf.R_X86_64_32S, True),
        ("eb06", 0, 8, elf.R_X86_64_64, True),  # jmp, and what it jumps over
        ("41c1e104", 3, 4, elf.R_X86_64_32S, True),  # shl r9d, and what is behind it
        ("49c7c100000000", 2, 4, elf.R_X86_64_32S, True),  # the register is of it
    ],
)
def test_what_the_kernel_linker_fills_in_is_a_whole_number(
    code: str, at: int, width: int, kind: int, another: bool
) -> None:
    instruction = decode_one(bytes.fromhex(code), 0)
    assert instruction is not None
    assert Filled([FilledField(at, width, kind)]).makes_another(instruction) == another


def test_code_that_is_another_at_other_addresses_is_not_proven() -> None:
    """A short jump, whose distance is a part of the lock's address."""
    beyond = f"movabs r11, =kpatch_tss_lock; jmp fine; {'ud2; ' * 55}fine:"
    case = Variant("a jump by the lock's address", (leave(beyond),)).case
    module = case.module
    section = module.section_named(".text.kpatch")
    assert section is not None
    lock = module.symbol_named("kpatch_tss_lock")
    assert lock is not None
    found = [r for r in module.relocations_of(section.index) if r.symbol == lock.index]
    table = module.sections[found[-1].table]
    data = bytearray(module.data)
    start = section.offset + found[-1].offset
    assert data[start - 2 : start] == b"\x49\xbb"
    data[start - 2 : start] = b"\x66\x90"
    # 0x4 or 0xB in bits 12 to 15 of the lock's address: behind the field, or beyond.
    addend = table.offset + 24 * found[-1].index + 16
    data[addend : addend + 8] = (0xC6EB).to_bytes(8, "little")
    other = Case(read_module(bytes(data), "another"), case.original, case.match, CPUID)
    (inputs, *_) = inputs_of(other)
    assert inputs.unknown[0].startswith("what stands for 'jmp 0x")


def test_what_is_taken_for_a_struct_pcpu_breaks_a_check() -> None:
    (same,) = (each for each in run_checks(BROAD[0].case) if each.wrong)
    assert same.name == SAME
    assert f"unknown-layout-private: {mistaken_of(BROAD[0].case).wrong}" in same.wrong


def test_a_guard_of_which_it_cannot_be_told_is_not_proven() -> None:
    code = "je fine; imul ecx, edx; cmp ecx, 0x12345678; jne unknown_layout; fine:"
    found = mistaken_of(Variant("a product", (Lines("jne unknown_layout", code),)).case)
    assert not found.wrong
    assert found.unknown[0].startswith("whether all pairs are treated alike")


@pytest.mark.parametrize("variant", NARROW, ids=lambda each: each.name)
def test_a_guard_may_look_otherwise_and_take_less(variant: Variant) -> None:
    assert mistaken_of(variant.case) == Mistaken()


@pytest.mark.parametrize("variant", UNTOLD, ids=lambda each: each.name)
def test_what_only_one_cpu_hands_over_to_the_monitor_is_not_proven(variant: Variant) -> None:
    unknown = [each.unknown for each in inputs_of(variant.case) if each.name == "inputs"]
    assert all("leaves to the monitor" in why for (why,) in unknown)


@pytest.mark.parametrize("variant", KEPT, ids=lambda each: each.name)
def test_what_the_kernel_keeps_is_not_touched_in_a_proven_patch(variant: Variant) -> None:
    unknown = [each.unknown for each in inputs_of(variant.case) if each.name == "inputs"]
    assert all("leaves to the kernel" in why for (why,) in unknown)


@pytest.mark.parametrize("variant", (*RIGHT_ODD, *HARMLESS), ids=lambda each: each.name)
def test_a_patch_that_is_right_keeps_every_property(variant: Variant) -> None:
    assert [each.reason for each in checked(variant.case) if not each.holds] == []


@pytest.mark.parametrize("variant", RIGHT_ODD, ids=lambda each: each.name)
def test_an_odd_patch_that_is_right_is_explored_as_right(variant: Variant) -> None:
    assert variant.explored(LEAVE).holds


def test_a_lock_by_the_cpus_number_depends_on_nothing_else() -> None:
    assert all(each.holds for each in inputs_of(FENCED.case))


def test_every_check_is_broken_by_some_patch() -> None:
    assert {mutant.broken for mutant in WRONG} == set(SENTENCES)


def test_a_broken_check_alone_makes_the_verdict() -> None:
    explored = (RIGHT.explored(LEAVE),)
    for case, verdict in ((RIGHT.case, "proven"), (WRONG[0].variant.case, "violated")):
        checks = run_checks(case)
        assert Proof(case, Bounds(), explored, None, 0.0, checks=checks).verdict == verdict
    unknown = (Check("inputs", unknown=("where 'jmp r9' goes",)),)
    assert Proof(RIGHT.case, Bounds(), explored, None, 0.0, checks=unknown).verdict == "not-proven"
