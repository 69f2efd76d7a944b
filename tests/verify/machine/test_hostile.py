"""The module is untrusted: whatever it does ends in a finding, with the place and the reason."""

from __future__ import annotations

import random

import pytest

from kpatch.errors import VerificationError
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.result import Answer
from kpatch.verify.hardware.cpustate import EVERYWHERE
from kpatch.verify.machine.scenarios import LEAVE, scenario_named
from kpatch.verify.world.kernel_text import RETURN_AT
from tests.verify.machine.workshop import (
    broken,
    image_bytes,
    instead,
    judged,
    match_of,
    unpatched,
    with_exit_code,
    with_image,
    world_of,
)

REACH_FOR_THE_HOST = {
    "halts": "hlt",
    "reads a port": "in al, 0x80",
    "breaks": "int3",
    "makes a system call": "syscall",
    "makes an old system call": "int 0x80",
    "looks at the clock": "rdtsc",
    "writes an MSR": "mov ecx, 0xc0000101; wrmsr",
    "swaps GS": "swapgs",
    "uses SSE": "movq xmm0, rax",
    "resets the FPU": "fninit",
    "stores past the store buffer": "movnti [rdi], eax",
    "returns from an interrupt": "iretq",
    "allows interrupts": "sti",
    "pops a flag that allows interrupts": "push 0x202; popfq",
    "single-steps": "push 0x102; popfq",
    "sets a breakpoint": "mov eax, 0x401; mov dr7, rax",
}
RUN_WILD = {
    "jumps to nothing": "mov rax, 0x1234567890; jmp rax",
    "jumps to an address that is none": "mov rax, 0x8000000000000000; jmp rax",
    "jumps to address 0": "xor eax, eax; jmp rax",
    "runs its stack": "mov word ptr [rsp - 8], 0xfeeb; lea rax, [rsp - 8]; jmp rax",
    "runs what is no instruction": "ud2",
    "divides by 0": "xor eax, eax; div eax",
    "reads address 0": "xor eax, eax; mov rax, [rax]",
    "writes address 0": "xor eax, eax; mov [rax], rax",
    "reads through the guest's GS": "mov rdx, 0x34; mov eax, gs:[rdx]",
    "loads page tables from the state": "mov cr3, rdi",
    "loads page tables from page 0": "xor eax, eax; mov cr3, rax",
    "keeps the monitor's page tables": "mov rax, [rdi + 0x60]; mov cr3, rax",
    "turns paging off": "xor eax, eax; mov cr0, rax",
    "turns long paging off": "xor eax, eax; mov cr4, rax",
    "loads a GDT from the stack": "lgdt [rsp]",
    "goes to the monitor's code segment": "push 0xf180; lea rax, [rip + 2]; push rax; retfq",
    "loads an LDT that is none": "mov ax, 0x30; lldt ax",
    "loads TR from a code segment": "mov ax, 8; ltr ax",
    "loads a stack segment that is none": "mov ax, 0x33; mov ss, ax",
}
OVERSTEP = {
    "calls itself for ever": "call .",
    "clears the GDT": "mov rcx, [rdi + 0x84]; mov qword ptr [rcx], 0",
    "writes on from the slot": "mov rcx, [rdi + 0x84]; mov [rcx + 0x3c], rax",
    "writes common_tss": "mov rcx, [rdi + 0x84]; mov qword ptr [rcx + 0x4fc0], 0",
    "patches its own image": "lea rax, [rip]; mov byte ptr [rax], 0x90",
    "changes the return address": "mov qword ptr [rsp + 0x30], 0",
    "changes its caller's frame": "mov qword ptr [rsp + 0x38], 0",
}


@pytest.mark.parametrize("what", REACH_FOR_THE_HOST)
def test_an_instruction_outside_of_the_model_is_a_finding(what: str) -> None:
    result = judged(with_exit_code(REACH_FOR_THE_HOST[what]))
    assert broken(result) == {"no-fault"}
    assert "model" in result.counterexamples[0].what or "FPU" in result.counterexamples[0].what


@pytest.mark.parametrize("what", RUN_WILD)
def test_code_that_runs_wild_is_a_finding(what: str) -> None:
    assert broken(judged(with_exit_code(RUN_WILD[what]))) == {"no-fault"}


@pytest.mark.parametrize("what", OVERSTEP)
def test_a_write_outside_of_the_footprint_is_a_finding(what: str) -> None:
    assert broken(judged(with_exit_code(OVERSTEP[what]))) == {"footprint"}


@pytest.mark.parametrize("loop", ["jmp .", "mov rcx, -1; mov rsi, rdi; std; rep lodsb"])
def test_code_that_never_ends_is_a_finding_and_no_hang(loop: str) -> None:
    result = judged(with_exit_code(loop), cpus=1)
    assert result.verdict is Answer.VIOLATED
    assert broken(result) <= {"progress", "no-fault"}


def test_a_string_store_over_everything_ends_at_the_first_foreign_byte() -> None:
    result = judged(with_exit_code("mov rdi, rsp; mov rcx, -1; xor eax, eax; rep stosb"), cpus=1)
    assert broken(result) == {"footprint"}
    assert "host stack" in result.counterexamples[0].what


@pytest.mark.parametrize("what", OVERSTEP)
def test_a_foreign_write_is_undone(what: str) -> None:
    world = world_of(with_exit_code(OVERSTEP[what]))
    engine = world.engine()
    territory = world.territory(0)
    state, _ = [world.boot(engine, cpu) for cpu in range(2)]
    shared, private = bytes(engine.shared.view), bytes(engine.private.view)
    engine.load(state, territory)
    assert engine.run(territory, {RETURN_AT}).failure is not None
    engine.load(state, territory)
    assert bytes(engine.shared.view) == shared
    assert bytes(engine.private.view) == private


def test_a_restored_state_sees_no_memory_of_the_world_before_it() -> None:
    monitor = "mov rax, [rdi + 8]; mov rax, [rax]"
    world = world_of(with_exit_code(monitor))
    engine = world.engine()
    territory = world.territory(0)
    first, _ = [world.boot(engine, cpu) for cpu in range(2)]
    states = [first]
    engine.load(first, territory)
    while engine.run(territory, EVERYWHERE).failure is None:
        states.append(engine.save(territory))
    about_to_fault = states[-1]
    side = world.guest.monitor_copy.virtual + world.guest.layout.monitor_side
    engine.load(next(each for each in states if each.registers["rip"] == side), territory)
    engine.run(territory, EVERYWHERE)  # reads the state at the monitor's address
    engine.load(about_to_fault, territory)
    failure = engine.run(territory, EVERYWHERE).failure
    assert failure is not None
    assert "page fault" in failure.what


SLOT = "mov ecx, 0x30; add rcx, [rdi + 0x84];"


@pytest.mark.parametrize("access", ["verr word ptr [rcx + 14]", "ltr word ptr [rcx + 14]"])
def test_an_access_that_depends_on_shared_contents_is_a_finding(access: str) -> None:
    clear_busy = "and dword ptr [rcx + 4], 0xfffffdff;"
    result = judged(with_exit_code(SLOT + clear_busy + "mov word ptr [rcx + 14], 0x30;" + access))
    assert "no-fault" in broken(result)
    assert "beyond what the emulation models" in result.counterexamples[0].what


def test_on_private_tables_the_descriptor_of_another_cpu_may_not_even_be_read() -> None:
    first = "mov rax, 0xffffffff80a5b030; mov rax, [rax]"
    result = judged(with_exit_code(first), scenario_named("private-gdt"))
    assert any(
        found.prop == "footprint" and "of another CPU" in found.what
        for found in result.counterexamples
    )


def test_a_module_with_ever_new_states_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpatch.verify.machine.local_states.MOST_LOCALS", 300)
    counting = with_exit_code(
        "mov rcx, [rdi + 0x84]; again: inc r11; mov eax, [rcx + 0x30];"
        "mov [rcx + 0x30], eax; jmp again"
    )
    with pytest.raises(VerificationError, match="not proven: more than 300 states"):
        judged(counting, cpus=1)


def test_images_with_random_damage_never_do_more_than_fail() -> None:
    chance = random.Random(20261122)
    header = match_of().image.header
    for _ in range(25):
        image = bytearray(image_bytes())
        for _ in range(chance.randint(1, 6)):
            image[header["exit_end"] + chance.randrange(64)] = chance.randrange(256)
        subject = instead(unpatched(), with_image(bytes(image)))
        result = judged(subject, LEAVE, 2, MemoryModel.SC)
        assert result.verdict in (Answer.PROVEN, Answer.VIOLATED, Answer.NOT_PROVEN)
