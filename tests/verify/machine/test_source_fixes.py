"""Modules with a source fix: the switch, and then the fix, as kqemu_exec calls it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.kqemu.sourcefix import recognise
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.result import Answer
from kpatch.verify.machine.setup import Subject
from kpatch.verify.proof.fixes import model_of
from kpatch.verify.world.caller import LockedPart, locked_part
from tests.verify.machine.workshop import (
    broken,
    judged,
    match_of,
    sample,
    scenario,
    unpatched,
)

FIXED = ["kqemu-7-fix-a.ko", "kqemu-7-fix-b.ko"]
ALL = [*FIXED, "kqemu-6-fix-a.ko", "kqemu-7-fix-a-clang.ko", "kqemu-6-fix-b-clang.ko"]
"""Both compilers, and the kernels of both branches."""
CPUID = {"kqemu-6": 0x3C, "kqemu-7": 0x34}


def fixed(name: str) -> Subject:
    """The module, with its fix behind the switch."""
    model = model_of(sample(name))
    assert model.tail is not None
    return Subject.of(sample(name), match_of(name).image, tail=model.tail)


def part_of(module: Module) -> LockedPart | None:
    """What is run behind the switch."""
    fix = recognise(module)
    assert fix is not None
    parts = [locked_part(module, each) for each in fix.calls]
    return None if None in parts else parts[0]  # compilers copy loops


@pytest.mark.parametrize("model", list(MemoryModel))
@pytest.mark.parametrize("name", ALL)
def test_the_fix_gives_every_cpu_its_own_tss_but_leaves_the_race(
    name: str, model: MemoryModel
) -> None:
    result = judged(fixed(name), model=model, cpuid_offset=CPUID[name[:7]])
    # What `and dword [slot+4]` stores late brings back half of another CPU's base.
    assert {"no-fault"} <= broken(result) <= {"no-fault", "descriptor"}
    fault = next(found for found in result.counterexamples if found.prop == "no-fault")
    assert "#GP" in fault.what
    assert "ltr" in fault.what


@pytest.mark.parametrize("name", ALL)
def test_the_fix_is_right_for_one_cpu(name: str) -> None:
    result = judged(fixed(name), scenario("up"), cpuid_offset=CPUID[name[:7]])
    assert result.verdict is Answer.PROVEN


@pytest.mark.parametrize("name", ALL)
def test_on_private_tables_the_fix_writes_the_slot_of_cpu_0(name: str) -> None:
    result = judged(fixed(name), scenario("private-gdt"), cpuid_offset=CPUID[name[:7]])
    assert broken(result) == {"footprint"}
    assert "host GDT" in result.counterexamples[0].what
    assert result.symmetry.startswith("broken")


def test_without_its_fix_the_same_module_is_wrong() -> None:
    assert "own-tss" in broken(judged(unpatched(FIXED[0])))


TAKE, EXCHANGE = bytes.fromhex("f0fe4818"), bytes.fromhex("864218")
"""``lock dec byte [rax + 0x18]``, ``xchg byte [rdx + 0x18], al``."""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TAKE, bytes.fromhex("f0ff4818")),  # a dword
        (TAKE, bytes.fromhex("f0fe4817")),  # another byte than is released
        (EXCHANGE, bytes.fromhex("864217")),
        (EXCHANGE, bytes.fromhex("886218")),  # mov byte [rdx + 0x18], ah
        (bytes.fromhex("b801000000") + EXCHANGE, bytes.fromhex("b802000000") + EXCHANGE),
        (bytes.fromhex("488b13b801"), bytes.fromhex("488b11b801")),  # from where rcx points to
    ],
)
def test_a_caller_that_locks_in_another_way_is_not_run(old: bytes, new: bytes) -> None:
    data = sample(FIXED[0]).data
    assert data.count(old) == 1
    changed = read_module(data.replace(old, new), "changed")
    assert part_of(changed) is None
    assert not model_of(changed).judged


CALLER = """
struct global { unsigned long more[4]; volatile unsigned char lock; };
struct guest { long first; struct global *global; unsigned char state[64]; int answer; };
void enter(void *), restore(unsigned long);
__attribute__((noinline)) void kqemu_tss_fixup(void)
{
    __asm__ volatile("ltr %w0" : : "r"(0x30) : "memory");
}
long kqemu_exec(struct guest *guest)
{
    struct global *all = guest->global;
    for (;;) {
        unsigned char free = 1;
        enter(guest->state);
        __asm__ volatile("1: lock; decb %0; jns 3f; 2: rep; nop; cmpb $0, %0; jle 2b; jmp 1b; 3:"
                         : "+m"(all->lock) : : "memory");
        kqemu_tss_fixup();
        __asm__ volatile("xchgb %b0, %1" : "+q"(free), "+m"(all->lock) : : "memory");
        if (guest->answer == 3)
            return 4;
        restore(all->more[0]);
    }
}
"""


@pytest.mark.parametrize("option", ["-O1", "-O2", "-Os"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_callers_lock_is_found_whoever_compiled_it(
    compiler: str, option: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "caller.c", tmp_path / "caller.o"
    source.write_text(CALLER)
    flags = ("-mcmodel=kernel", "-mno-red-zone", "-fno-pic", "-ffreestanding")
    subprocess.run([compiler, option, *flags, "-c", source, "-o", target], check=True)
    part = part_of(read_module(target.read_bytes(), "caller.o"))
    assert part is not None
    (pointer,) = part.pointers
    assert pointer[1] in (0, 32)
    assert part.start < part.end
