"""Modules as the bare machine takes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kpatch.elf.module import Module, read_module
from kpatch.machinetest import Trial, settings_for, trials
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.proving import case_of
from kpatch.verify.proof.tasks import Case
from kpatch.witness.machine import emulators
from kpatch.witness.machine.job import rom
from kpatch.witness.machine.result import MachineRun

MODULE = "the module on a shared GDT"
SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name: str) -> Module:
    return read_module((SAMPLES / name).read_bytes(), name)


@cache
def patched(name: str = "kqemu-7.ko") -> Module:
    return read_module(apply_plan(prepare(assess(sample(name)))), name)


def case(module: Module) -> Case:
    return case_of(assess(module))


def trial(name: str, of: Case, machine: str, rounds: int) -> Trial:
    """One of the trials of a machine test, by its name."""
    found = trials(of, settings_for(machine, of, rounds=rounds))
    return next(each for each in found if each.name == name)


def tried(one: Trial, machine: str, limit: float | None = None) -> MachineRun:
    return emulators.run(machine, rom(one.subject, one.settings), one.settings.cpus, limit)
