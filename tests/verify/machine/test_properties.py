"""Each property is broken by something, and then it is this property that says so."""

from __future__ import annotations

import pytest

from kpatch.elf.module import read_module
from kpatch.errors import UsageError
from kpatch.verify.explore.result import Answer
from kpatch.verify.machine.properties import CATALOG, named
from kpatch.verify.machine.scenarios import SCENARIOS, UP, scenario_named
from kpatch.verify.machine.setup import Subject
from tests.verify.machine.workshop import (
    broken,
    instead,
    judged,
    patched,
    patched_module,
    with_exit_code,
)

RIGHT = (
    "mov ax, [rdi + 0x8c]; mov ecx, eax; and ecx, 0xfff8; add rcx, [rdi + 0x84];"
    "and dword ptr [rcx + 4], 0xfffffdff; {before} ltr ax; {after} nop"
)


def exit_with(before: str = "", after: str = "") -> Subject:
    """A right exit site, for one CPU, with something before or behind its ``ltr``."""
    return with_exit_code(RIGHT.format(before=before and f"{before};", after=after and f"{after};"))


def test_the_exit_that_the_others_are_made_from_is_right() -> None:
    assert judged(exit_with(), UP).verdict is Answer.PROVEN


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("rbp is", "mov qword ptr [rsp + 0x28], 1"),
        ("rbx is", "mov qword ptr [rsp + 0x20], 1"),
        ("r12 is", "mov qword ptr [rsp + 0x18], 1"),
        ("r15 is", "mov qword ptr [rsp], 1"),
        ("cr4 is", "mov rax, cr4; xor rax, 0x200; mov cr4, rax"),
        ("idtr is another", "lidt [rdi + 0x2c]"),
        (
            "gdtr is another",
            "mov rax, [rdi + 0x84]; mov word ptr [rsp - 16], 0x57; mov [rsp - 14], rax;"
            "lgdt [rsp - 16]",
        ),
        ("the direction flag is set", "std"),
        ("DR7 is still", "mov eax, 0x700; mov dr7, rax"),
    ],
)
def test_what_is_not_restored_is_named(what: str, code: str) -> None:
    result = judged(exit_with(after=code), UP)
    assert broken(result) == {"restored"}
    assert what in result.counterexamples[0].what


def test_a_return_that_drops_too_much_of_the_stack_is_named() -> None:
    pops = "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp"
    leave = f"mov rax, [rdi + 0xb0]; mov cr0, rax; mov ax, [rdi + 0x98]; mov ss, ax; {pops}; ret 8"
    result = judged(exit_with(after=leave), UP)
    assert broken(result) == {"restored"}
    assert "rsp is" in result.counterexamples[0].what


def test_a_slot_that_is_left_broken_is_found_at_the_end() -> None:
    result = judged(
        exit_with(after="mov byte ptr [rcx + 5], 0"), scenario_named("unknown-layout-up")
    )
    assert broken(result) == {"descriptor"}
    assert "is left with" in result.counterexamples[0].what


@pytest.mark.parametrize(
    "code",
    [
        "or byte ptr [rcx + 2], 8",
        "mov byte ptr [rcx + 7], 0",
        "mov dword ptr [rcx + 8], 0",
        "mov word ptr [rcx], 0x10",
    ],
)
def test_a_malformed_descriptor_is_found_when_it_is_loaded(code: str) -> None:
    assert broken(judged(exit_with(before=code), UP)) == {"descriptor"}


@pytest.mark.parametrize("code", ["mov byte ptr [rcx + 5], 0x8b", "mov byte ptr [rcx + 5], 0x09"])
def test_a_busy_or_absent_descriptor_faults(code: str) -> None:
    assert broken(judged(exit_with(before=code), UP)) == {"no-fault"}


def test_leaving_the_monitors_task_register_is_a_wrong_tss() -> None:
    assert broken(judged(with_exit_code("nop"), UP)) == {"own-tss"}


def without(code: str) -> Subject:
    """The patched module with nops in the place of one instruction of its trampolines."""
    module = patched_module()
    section = module.section_named(".text.kpatch")
    assert section is not None
    raw = bytes.fromhex(code)
    at = module.contents(section).index(raw) + section.offset
    data = module.data[:at] + b"\x90" * len(raw) + module.data[at + len(raw) :]
    return instead(patched(), read_module(data, "without an instruction"))


FREE_THE_LOCK = "41c70000000000"  # mov dword [r8], 0


def test_a_lock_that_is_never_released_is_found_by_one_cpu_and_by_two() -> None:
    one = judged(without(FREE_THE_LOCK), UP)
    assert broken(one) == {"progress"}
    assert broken(judged(without(FREE_THE_LOCK))) == {"progress"}


def test_every_property_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({each.name for each in CATALOG}) == len(CATALOG)
    for each in CATALOG:
        assert each.sentence.endswith(".")


def test_scenarios_promise_properties_that_exist() -> None:
    for each in SCENARIOS:
        assert {found.name for found in named(each.promised)} == each.promised
        assert scenario_named(each.name) is each
    with pytest.raises(UsageError, match="no scenario 'no such thing'"):
        scenario_named("no such thing")


def test_the_unknown_layout_promises_no_own_tss_where_the_slot_is_shared() -> None:
    kept = {each.name for each in SCENARIOS if "own-tss" not in each.promised}
    assert kept == {"unknown-layout"}


@pytest.mark.parametrize("prefix", ["26", "2e", "36", "3e"])
def test_a_segment_prefix_that_a_cpu_ignores_has_no_effect(prefix: str) -> None:
    site = exit_with(before="nop")
    bare = bytes.fromhex("816104fffdffff")  # and dword [rcx + 4], 0xfffffdff
    assert site.module.data.count(bare + b"\x90") == 1
    data = site.module.data.replace(bare + b"\x90", bytes.fromhex(prefix) + bare)
    assert judged(instead(site, read_module(data, "prefixed")), UP).verdict is Answer.PROVEN
