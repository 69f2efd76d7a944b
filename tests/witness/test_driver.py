"""The whole driver on a bare machine: a module's own C side, with the requests that it knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, read_module
from kpatch.kqemu.ioctl import Requests, requests_of
from kpatch.machinetest import driver_trials, settings_for
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from tests import referees
from tests.objects import assembled, compiled, objcopied
from tests.witness.machines import case, sample, tried

referees.require("qemu-system-x86_64", "gcc", "ld", "objcopy", whole_module=True)

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


def test_kqemus_own_requests_run_its_own_c_side(module: Module) -> None:
    assert requests_of(module) == (0x80387102, 0xC1C07101)
    repaired = read_module(apply_plan(prepare(assess(module))), "kqemu.ko")
    for each, right in ((repaired, True), (module, False)):
        of = case(each)
        (one,) = driver_trials(of, settings_for("qemu", of, rounds=50))
        found = tried(one, "qemu", limit=60)
        assert (found.outcome, found.rounds, found.faults) == ("done", 100, 0), found.findings
        assert (found.wrong_tss == 0) is right
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
    ],
)
def test_requests_are_read_from_the_code(code: str, found: Requests | None) -> None:
    assert requests_of(read_module(assembled(code))) == found


def test_the_samples_have_requests_of_their_own() -> None:
    assert requests_of(sample("kqemu-7.ko")) is None
