"""The whole driver on a bare machine: a module's own C side, with the requests that it knows."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.cli import explored
from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, read_module
from kpatch.errors import UnknownModuleError
from kpatch.kqemu.ioctl import Requests, requests_of
from kpatch.machinetest import driver_trials, settings_for
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.units import SectionOffset
from kpatch.witness.machine import job
from kpatch.witness.machine.result import MachineRun
from tests import referees
from tests.cli.harness import run
from tests.objects import assembled, compiled, objcopied
from tests.witness.machines import case, patched, sample, tried

referees.require("qemu-system-x86_64", "gcc", "ld", "objcopy", whole_module=True)

GENERAL_PROTECTION, TASK_REGISTER = 13, 0x30

RENAMED = [f"--rename-section={each}set_sysinit_set={each}set_unused" for each in ("", ".rela")]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """A sample whose C side is initialised by another front end."""
    folder = tmp_path_factory.mktemp("front")
    source = (Path(__file__).parent / "kqemu_front.c").read_text()
    (folder / "front.o").write_bytes(compiled(source, "-mgeneral-regs-only"))
    (folder / "core.o").write_bytes(objcopied(sample("kqemu-7.ko").data, *RENAMED))
    command = ["ld", "-r", "-o", "kqemu.ko", "core.o", "front.o"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    return read_module(without_plt32((folder / "kqemu.ko").read_bytes()), "kqemu.ko")


def without_plt32(data: bytes) -> bytes:
    """Calls as the assemblers of 2008 wrote them."""
    made, relocation = bytearray(data), AMD64.rela
    for section in read_module(data).sections:
        if section.type == elf.SHT_RELA:
            for at in range(section.offset, section.offset + section.size, relocation.size):
                offset, info, addend = relocation.unpack_from(data, at)
                if info & 0xFFFF_FFFF == elf.R_X86_64_PLT32:
                    info += elf.R_X86_64_PC32 - elf.R_X86_64_PLT32
                    relocation.pack_into(made, at, offset, info, addend)
    return bytes(made)


def ends_right(found: MachineRun, rounds: int) -> bool:
    """Whether it came to its end, and nothing was wrong."""
    came = (found.outcome, found.rounds, found.wrong_tss, found.faults)
    return came == ("done", rounds, 0, 0)


def ends_in_its_bug(found: MachineRun, rounds: int) -> bool:
    """Whether an unpatched module did what it does: every round of the first CPU ends on the last
    one's TSS. Without a lock two CPUs may meet at the busy bit, too: that ends the run early.
    """
    faulted = [(each.vector, each.error) for each in found.cpus if each.faults]
    if not faulted:
        return (found.outcome, found.rounds) == ("done", rounds) and found.wrong_tss > 0
    return found.outcome == "done" and set(faulted) == {(GENERAL_PROTECTION, TASK_REGISTER)}


def test_kqemus_own_requests_run_its_own_c_side(module: Module) -> None:
    assert requests_of(module) == (0x80387102, 0xC1C07101)
    repaired = read_module(apply_plan(prepare(assess(module))), "kqemu.ko")
    for each, right in ((repaired, True), (module, False)):
        of = case(each)
        (one,) = driver_trials(of, settings_for("qemu", of, rounds=50))
        found = tried(one, "qemu")
        assert ends_right(found, 100) if right else ends_in_its_bug(found, 100), found
        assert not any(cpu.monitor for cpu in found.cpus), (
            "each request comes back without an error"
        )


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("mov $0x80307102, %eax; cmp %rax, %rsi; mov $0xc2f87101, %eax", (0x80307102, 0xC2F87101)),
        ("mov $0x80387101, %eax; add $0x3fc80001, %rax; cmp %rax, %rsi", (0x80387101, 0xC0007102)),
        ("cmp $0x40047103, %rsi; mov $0x80307102, %eax", None),
        ("mov $0x80207105, %eax; mov $0xc2f87101, %eax", None),
        ("mov $0x80307102, %eax; .fill 4096; mov $0xc2f87101, %eax", None),
        (".rept 1000; .long 0x40047103; .endr; mov $0x80307102, %eax; mov $0xc2f87101, %eax", None),
    ],
)
def test_requests_are_read_from_the_code(code: str, found: Requests | None) -> None:
    assert requests_of(read_module(assembled(code))) == found


def test_the_samples_have_requests_of_their_own() -> None:
    assert requests_of(sample("kqemu-7.ko")) is None


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-stripped.ko"])
def test_the_whole_driver_runs_through_its_ioctl(name: str) -> None:
    for module, right in ((patched(name), True), (sample(name), False)):
        of = case(module)
        (one,) = driver_trials(of, settings_for("qemu", of, rounds=100))
        found = tried(one, "qemu")
        assert ends_right(found, 200) if right else ends_in_its_bug(found, 200), found
        assert not any(cpu.monitor for cpu in found.cpus), "each guest comes to its hlt"


def test_a_cpu_that_faults_under_giant_does_not_leave_the_others_waiting() -> None:
    reset = "cmp $0x80107102, %esi; je 1f; xor %eax, %eax; ret"
    module = sample("kqemu-7.ko")
    faulty = read_module(assembled(f"{reset}; 1: mov $0x4000000, %ecx; 2: dec %ecx; jnz 2b; ud2\n"))
    code = faulty.contents(faulty.sections[1])
    ioctl = module.symbol_named("kqemu_ioctl")
    assert ioctl is not None
    text = module.sections[ioctl.section]
    assert not module.relocations_at(
        text.index, SectionOffset(ioctl.value), SectionOffset(ioctl.value + len(code))
    )
    start = module.file_offset(text, SectionOffset(ioctl.value))
    data = module.data[:start] + code + module.data[start + len(code) :]
    of = case(module)
    (one,) = driver_trials(of, settings_for("qemu", of, rounds=10))
    found = tried(replace(one, subject=replace(one.subject, module=read_module(data))), "qemu")
    assert found.outcome == "done" and {each.vector for each in found.cpus if each.faults} == {6}


def test_a_driver_that_wants_more_of_the_kernel_is_told_what() -> None:
    data = sample("kqemu-7.ko").data.replace(b"\0sysctl_handle_int\0", b"\0vm_fault_anything\0")
    of = case(read_module(data.replace(b"\0copyout\0", b"\0copyXXX\0"), "more.ko"))
    with pytest.raises(UnknownModuleError, match="has no copyXXX, vm_fault_anything;") as caught:
        driver_trials(of, settings_for("qemu", of))
    assert caught.value.exit_code == 11


def test_a_function_that_only_answers_is_added_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    known = job.functions()
    assert known["mtx_init"] == known["answer_0"] != known["clone_create"] == known["answer_1"]
    data = sample("kqemu-7.ko").data.replace(b"\0sysctl_handle_int\0", b"\0vm_fault_anything\0")
    of = case(read_module(data, "more.ko"))
    more = known | {"vm_fault_anything": known["answer_0"]}
    monkeypatch.setattr(job, "functions", lambda: more)
    (one,) = driver_trials(of, settings_for("qemu", of, rounds=20))
    assert tried(one, "qemu").outcome == "done"


def test_that_is_told_before_the_proof_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "more.ko"
    data = sample("kqemu-7.ko").data
    path.write_bytes(data.replace(b"\0sysctl_handle_int\0", b"\0vm_fault_anything\0"))
    monkeypatch.setattr(explored, "prove_case", lambda *_: pytest.fail("a proof was begun"))
    done = run("verify", "--machine", "qemu", "--driver", path)
    assert done.code != 0 and "vm_fault_anything" in done.complaint
