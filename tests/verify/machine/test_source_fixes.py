"""Modules with a source fix: the switch, and then the fix, as kqemu_exec calls it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.elf.klink import load
from kpatch.elf.module import Module, read_module
from kpatch.errors import UnknownModuleError
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Immediate, Memory, Register
from kpatch.kqemu.sourcefix import recognise
from kpatch.units import Address
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.result import Answer
from kpatch.verify.hardware.memory import Region
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.machine.setup import Subject
from kpatch.verify.proof.fixes import model_of
from kpatch.verify.world.caller import LockedPart, Place, locked_part
from kpatch.verify.world.global_state import GlobalState
from kpatch.verify.world.kernel_text import FRAME
from kpatch.verify.world.linking import MODULE_AT
from kpatch.verify.world.routines import LARGEST_STATE
from tests.verify.machine.workshop import broken, judged, match_of, sample, unpatched

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
    result = judged(fixed(name), scenario_named("up"), cpuid_offset=CPUID[name[:7]])
    assert result.verdict is Answer.PROVEN


@pytest.mark.parametrize("name", ALL)
def test_on_private_tables_the_fix_writes_the_slot_of_cpu_0(name: str) -> None:
    result = judged(fixed(name), scenario_named("private-gdt"), cpuid_offset=CPUID[name[:7]])
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
        unsigned char free;
        enter(guest->state);
        __asm__ volatile("1: lock; decb %0; jns 3f; 2: rep; nop; cmpb $0, %0; jle 2b; jmp 1b; 3:"
                         : "+m"(all->lock) : : "memory");
        kqemu_tss_fixup();
        free = 1;
        __asm__ volatile("xchgb %b0, %1" : "+q"(free), "+m"(all->lock) : : "memory");
        if (guest->answer == 3)
            return 4;
        restore(all->more[0]);
    }
}
"""


@pytest.mark.parametrize("option", ["-O0", "-O1", "-O2", "-Os"])
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


IN_TWO_STEPS = CALLER.replace("all->lock", "guest->global->lock")
"""Its address is loaded from the frame, and the lock's from there."""


@pytest.mark.parametrize(
    ("release", "found"),
    [
        ("free = 1;", True),
        # What is on the frame by then is another pointer, or another number.
        ("free = 1; guest = (void *)guest->global;", False),
        ("free = 2;", False),
        ("free = 1; free++;", False),
        ("free = 1; guest++;", False),
    ],
)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_callers_lock_is_followed_over_its_frame(
    compiler: str, release: str, found: bool, tmp_path: Path
) -> None:
    source, target = tmp_path / "caller.c", tmp_path / "caller.o"
    source.write_text(IN_TWO_STEPS.replace("free = 1;", release))
    flags = ("-O0", "-mcmodel=kernel", "-mno-red-zone", "-fno-pic", "-ffreestanding")
    subprocess.run([compiler, *flags, "-c", source, "-o", target], check=True)
    part = part_of(read_module(target.read_bytes(), "caller.o"))
    assert (part is not None) is found
    if part is not None:
        ((base, displacement, _),) = part.cells
        assert (base[0], displacement) == ("rbp", 8)


@pytest.mark.parametrize(
    "cells",
    [
        ((("rbp", -0x20), 0x28B8, 24),),
        ((("rbp", -0x20), 0x28B8, 24), (("rsp", 8), 0, 24), ("rbx", 8, 24), ("rbp", -8, 16)),
        (("r13", 0x28B8, 24),),
        (("r13", -0x40, 24), ("r13", 0x28B8, 16), ("rbx", 0x28B8, 24), ("rsp", 8, 24)),
        (),
    ],
)
def test_the_global_state_is_found_wherever_its_address_is_kept(
    cells: tuple[tuple[str | Place, int, int], ...],
) -> None:
    """Displacements are those of a struct kqemu_state, and so of any size."""
    module = sample("kqemu-7-fix-b.ko")
    part = model_of(module).tail
    assert part is not None
    loaded = load(module, MODULE_AT, dict.fromkeys(module.undefined, Address(MODULE_AT)))
    made = GlobalState(loaded, replace(part, cells=cells))
    memory = made.loaded.memory
    whole = Region("module", MODULE_AT, 0, len(memory), private=False)
    lock = made.lock_in(whole).virtual
    assert memory[lock - MODULE_AT] == 1, "it is free"
    registers, stored = given_by(made.tail)
    for base, displacement, distance in cells:
        frame = {"rsp": 0, "rbp": FRAME}
        if isinstance(base, str) and base in frame:
            value = stored[displacement + frame[base]]
        else:
            start = registers[base] if isinstance(base, str) else stored[base[1] + frame[base[0]]]
            at = start + displacement - MODULE_AT
            value = int.from_bytes(memory[at : at + 8], "little")
        assert value == lock - distance


def given_by(tail: bytes) -> tuple[dict[str, int], dict[int, int]]:
    """What the way to the locked part puts into registers, and on the stack."""
    registers: dict[str, int] = {}
    stored: dict[int, int] = {}
    for each in decode(tail):
        match each.mnemonic, each.operands:
            case "movabs" | "mov", (Register(whole=name), Immediate(value=number)):
                registers[name] = number % (1 << 64)
            case "mov", (Memory(base="rsp", displacement=at), Register(whole=name)):
                stored[at] = registers[name]
    return registers, stored


def test_places_of_the_global_state_that_are_too_far_apart_are_refused() -> None:
    module = sample("kqemu-7-fix-b.ko")
    part = model_of(module).tail
    assert part is not None
    loaded = load(module, MODULE_AT, dict.fromkeys(module.undefined, Address(MODULE_AT)))
    far = replace(part, cells=(("r13", 0, 24), ("r13", LARGEST_STATE + 8, 24)))
    with pytest.raises(UnknownModuleError, match="too far apart"):
        GlobalState(loaded, far)
