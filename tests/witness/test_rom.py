"""What both machines start from: how it is built, and what has room in it."""

from __future__ import annotations

import re
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from kpatch.errors import UnknownModuleError
from kpatch.machinetest import Trial
from kpatch.units import PAGE
from kpatch.witness.machine import job
from tests import referees
from tests.objects import objcopied
from tests.witness.machines import MODULE, case, patched, trial, tried

SOURCE = Path(__file__).parents[2] / "machine"

referees.require("qemu-system-x86_64", "bochs", "gcc", "ld", "make", "objcopy", whole_module=True)


def test_the_machine_is_built_from_its_source_bit_for_bit(tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(SOURCE), f"OUT={tmp_path}"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    made = (tmp_path / "machine.elf").read_bytes()
    shipped = (Path(job.__file__).parent / "data" / "machine.elf").read_bytes()
    assert len(shipped) < 64 << 10
    (here,), (there,) = (re.findall(rb"tools: (.+?)\0", each) for each in (made, shipped))
    if here == there:
        assert made == shipped
    else:  # other tools give other bytes, and what can be told then is less
        warnings.warn(f"not compared: built by {there!r}, here is {here!r}", stacklevel=1)
        assert names(made) == names(shipped)


def names(machine: bytes) -> set[str]:
    """What a machine has for a module to use, and what its job is found by."""
    return {each.name for each in read_module(machine).symbols if not each.is_local}


def test_a_module_is_given_nothing_of_the_rom() -> None:
    """It is not there any more once the machine runs."""
    at = [address - job.KERNEL_BASE for address in job.functions().values()]
    assert min(at) >= 0x10000 and max(at) < 4 << 20


def test_the_largest_module_that_fits_starts_on_both_machines(tmp_path: Path) -> None:
    one = trial(MODULE, case(patched()), "bochs", 1)

    def with_room(size: int) -> Trial:
        room = tmp_path / f"{size}"
        room.write_bytes(b"\1" * size)
        flags = (
            f"--add-section=.room={room}",
            "--set-section-flags=.room=alloc,load,data,contents",
        )
        made = read_module(objcopied(patched().data, *flags), "large.ko")
        return replace(one, subject=replace(one.subject, module=made))

    free = job.LARGEST_MODULE - len(job.loaded(with_room(PAGE).subject).memory) + PAGE
    for machine in ("qemu", "bochs"):
        found = tried(with_room(free), machine)
        assert (found.outcome, found.findings, found.rounds) == ("done", (), 2)
    with pytest.raises(UnknownModuleError, match="bytes"):
        job.loaded(with_room(free + PAGE).subject)


def test_the_words_of_a_job_have_one_order() -> None:
    words = re.findall(r"\bJOB_([A-Z0-9_]+)", (SOURCE / "job.h").read_text())
    order = [each.lower() for each in words if each not in ("H", "IS_OURS", "WORDS")]
    assert tuple(order) == job.JOB
