"""Code in the image that was made to hurt, or to fool the verifier: a finding with a reason."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from kpatch.verify.explore import explore
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.result import Answer, Result
from kpatch.verify.machine.scenarios import LEAVE, scenario_named
from kpatch.verify.machine.setup import Setup, Subject
from tests.cli.harness import run
from tests.verify.machine.workshop import (
    broken,
    image_bytes,
    instead,
    judged,
    match_of,
    patched,
    unpatched,
    with_exit_code,
    with_image,
)

SC, TSO = MemoryModel.SC, MemoryModel.TSO
SLOT: Final = "mov rcx, [rdi + 0x84];"
EXIT: Final = "; ".join(each.text for each in match_of().sites["exit"].instructions)
"""The exit site's own instructions: with them the rest of the switch is as it should be."""

NOT_THE_SAME_EVERY_TIME = {
    "time stamps": "rdtsc",
    "time stamps with the CPU's number": "rdtscp",
    "random numbers": "rdrand eax",
    "random seeds": "rdseed eax",
    "performance counters": "mov ecx, 0; rdpmc",
    "the CPU's number by cpuid": "mov eax, 1; cpuid",
    "an MSR": "mov ecx, 0x1b; rdmsr",
    "the extended control register": "xor ecx, ecx; xgetbv",
    "the lock by monitor": "mov rax, rsp; monitor",
    "the lock by mwait": "mwait",
}
LEAVES_THE_CPU = {
    "a port": "out 0x80, al",
    "a string from a port": "insb",
    "sysret": "sysret",
    "sysenter": "sysenter",
    "a call of a hypervisor": "vmcall",
    "an iret of 32 bits": "iretd",
    "an interrupt": "int 0x30",
    "system management": "rsm",
    "writing back the caches": "wbinvd",
    "the task priority": "xor eax, eax; mov cr8, rax",
    "a table's base by a CPU, 24 bits of it by Unicorn": ".byte 0x66; sgdt [rsp - 0x40]",
}
NEEDS_THE_FPU = {
    "AVX": "vxorps ymm0, ymm0, ymm0",
    "SSE": "pxor xmm1, xmm1",
    "MMX": "movd mm0, eax",
    "x87": "fild dword ptr [rsp]",
    "fxsave": "fxsave [rsp - 0x400]",
    "xsave": "xsave [rsp - 0x400]",
    "mxcsr": "ldmxcsr dword ptr [rsp]",
}
FAULTS = {
    "a far return to 32-bit code": "push 0x18; lea rax, [rip + 3]; push rax; retfq",
    "a far return to nothing": "push 0; push 0; retfq",
    "an empty stack": "xor esp, esp; push rax",
    "a stack at no address": "mov rsp, 0x8000000000000000; push rax",
    "a stack far below": "sub rsp, 0x100000; push rax",
    "a bit far away": "mov rax, 0x7fffffffffff; bts qword ptr [rdi], rax",
    "a call through the state": "call [rdi]",
    "the state as code": "mov rax, [rdi + 8]; jmp rax",
    "a segment that is none": "mov eax, 0x1234; mov ds, ax",
    "a repeated move that runs on": "mov rsi, rdi; mov rcx, -1; rep movsq",
}
WRITES_ELSEWHERE = {
    "pushing for ever": "again: push rax; jmp again",
    "its own code": "lea rax, [rip + 1]; mov byte ptr [rax], 0x90",
    "its own code, by a locked exchange": "lea rax, [rip + 1]; xchg byte ptr [rax], al",
    "the interrupt table": "mov rax, [rdi + 0x7a]; mov qword ptr [rax], 0",
    "a neighbour's descriptor": f"{SLOT} lock inc dword ptr [rcx + 0x50]",
    "its own stack, a lot of it": "lea rdi, [rsp - 0x1000]; mov ecx, 0x100000; rep stosb",
}
ENDLESS = {
    "turning round": "jmp .",
    "counting down": "mov rcx, -1; again: loop again",
    "waiting without pause": f"{SLOT} again: cmp byte ptr [rcx + 0x35], 0x42; jne again",
    "writing cr3": "again: mov rax, cr3; mov cr3, rax; jmp again",
    "waiting with pause": "again: pause; jmp again",
    "waiting for what nobody writes": (
        f"{SLOT} again: pause; cmp byte ptr [rcx + 0x35], 0x42; jne again"
    ),
}
LEFT_BEHIND = {
    "cr4": "mov rax, cr4; or rax, 4; mov cr4, rax",
    "another interrupt table": "lidt [rsp - 64]",
    "a shorter GDT": "sub rsp, 16; sgdt [rsp]; mov word ptr [rsp], 0x7f; lgdt [rsp]; add rsp, 16",
    "an address in dr0": "mov dr0, rsp",
    "the direction flag": "std",
    "the nested-task flag": "push 0x4002; popfq",
    "a register of the caller": "inc qword ptr [rsp + 8]",
}


@pytest.mark.parametrize("what", NOT_THE_SAME_EVERY_TIME)
@pytest.mark.parametrize("model", [SC, TSO])
def test_what_could_differ_between_two_runs_or_two_cpus_is_refused(
    what: str, model: MemoryModel
) -> None:
    result = judged(with_exit_code(NOT_THE_SAME_EVERY_TIME[what]), model=model)
    assert {found.prop for found in result.counterexamples} == {"no-fault"}
    assert "outside of what the emulation models, at image+" in result.counterexamples[0].what


@pytest.mark.parametrize("what", LEAVES_THE_CPU)
def test_what_leaves_the_cpu_is_refused(what: str) -> None:
    result = judged(with_exit_code(LEAVES_THE_CPU[what]))
    assert "outside of what the emulation models, at image+" in result.counterexamples[0].what


@pytest.mark.parametrize("what", NEEDS_THE_FPU)
def test_the_fpu_belongs_to_somebody_else(what: str) -> None:
    result = judged(with_exit_code(NEEDS_THE_FPU[what]))
    assert "uses the FPU" in result.counterexamples[0].what


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_names_its_kind_and_its_place(what: str) -> None:
    result = judged(with_exit_code(FAULTS[what]))
    assert broken(result) == {"no-fault"}
    assert result.counterexamples[0].what.startswith("#")
    assert "image+" in result.counterexamples[0].what


def test_pushing_for_ever_uses_more_stack_than_there_may_be() -> None:
    """Long before it comes to the end of the stack."""
    assert broken(judged(with_exit_code("again: push rax; jmp again"))) == {"footprint"}


@pytest.mark.parametrize("what", WRITES_ELSEWHERE)
def test_a_write_elsewhere_names_what_it_would_have_changed(what: str) -> None:
    result = judged(with_exit_code(WRITES_ELSEWHERE[what]))
    assert broken(result) == {"footprint"}
    assert result.counterexamples[0].what.startswith("writes ")


@pytest.mark.parametrize("what", ENDLESS)
def test_code_without_an_end_is_a_finding(what: str) -> None:
    result = judged(with_exit_code(ENDLESS[what]), cpus=1)
    assert broken(result) == {"progress"}


def test_a_switch_with_the_same_instructions_elsewhere_is_right() -> None:
    """Control of the test below."""
    assert judged(with_exit_code(EXIT), scenario_named("up"), cpus=1).verdict is Answer.PROVEN


@pytest.mark.parametrize("what", LEFT_BEHIND)
def test_what_is_left_behind_in_the_host_is_a_finding(what: str) -> None:
    result = judged(with_exit_code(f"{LEFT_BEHIND[what]}; {EXIT}"), scenario_named("up"), cpus=1)
    assert broken(result) == {"restored"}


@pytest.mark.parametrize("model", [SC, TSO])
def test_a_counter_without_end_is_not_proven(model: MemoryModel) -> None:
    counting = f"{SLOT} again: inc r11; mov eax, [rcx + 0x30]; mov [rcx + 0x30], eax; jmp again"
    setup = Setup(with_exit_code(counting), LEAVE, 2, model=model)
    options = Options(model=model, max_states=2_000)
    result = setup.with_program(lambda program: explore(program, options))
    assert result.verdict is Answer.NOT_PROVEN
    assert (str(result.bound), result.counterexamples) == ("max-states 2000", ())


def test_a_counter_in_shared_memory_is_not_proven() -> None:
    counting = f"{SLOT} again: lock inc dword ptr [rcx + 0x30]; jmp again"
    setup = Setup(with_exit_code(counting), LEAVE, 2)
    result = setup.with_program(lambda program: explore(program, Options(max_states=2_000)))
    assert result.verdict is Answer.NOT_PROVEN


def figures(result: Result) -> Result:
    """All of a result but its time."""
    return replace(result, seconds=0.0)


def damaged(chance: random.Random) -> Subject:
    """The unpatched or the patched module with other bytes in its switch."""
    subject = chance.choice((unpatched(), patched()))
    image = bytearray(image_bytes())
    start, end = match_of().image.header["kernel2monitor"], int(match_of().sites["exit"].end)
    for _ in range(chance.randint(1, 2)):
        image[chance.randrange(start, end)] = chance.randrange(256)
    return instead(subject, with_image(bytes(image)))


@pytest.mark.parametrize("seed", range(12))
def test_the_same_module_gives_the_same_result_twice(seed: int) -> None:
    def result() -> Result:
        setup = Setup(damaged(random.Random(seed)), LEAVE, 2, model=TSO)
        options = Options(model=TSO, max_states=2_000)
        return setup.with_program(lambda program: explore(program, options))

    assert figures(result()) == figures(result())


def test_the_command_line_says_what_hostile_code_did(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(with_exit_code("rdtsc").module.data)
    done = run("verify", "--jobs", "1", "--cpus", "2", "--scenario", "leave", path)
    # The site is none any more, so it is the signature that refuses.
    assert done.code == 12
    assert done.complaint.startswith(f"kpatch: {path}: ")
