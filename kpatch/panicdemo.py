"""The panic of 2008: a module before and after the patch, under processes, a clock and real stacks.

On the bare machine every CPU has a process in ring 3 with a kernel stack of its own. A clock
interrupts it through rsp0 of the TSS that is loaded, and it calls the module's switch again and
again. With another CPU's TSS loaded, two CPUs soon use one stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from kpatch.errors import AlreadyFixedError
from kpatch.machinetest import settings_for, subject_of
from kpatch.verify.proof.fixes import FixModel
from kpatch.verify.proof.tasks import Case
from kpatch.witness.machine.emulators import require, run, version_of
from kpatch.witness.machine.job import rom
from kpatch.witness.machine.result import MachineRun

ROUNDS: Final = {"qemu": 5_000, "bochs": 1_000}
"""Calls of the switch on each CPU: some hundred are enough for the panic."""

_CLOCK: Final = {"qemu": 200_000, "bochs": 3_000}
"""Ticks of the local APIC's timer between two interrupts: 0.2 ms in QEMU."""


@dataclass(frozen=True)
class Scene:
    """One run, and whether it was expected to panic."""

    name: str
    must_panic: bool
    run: MachineRun

    @property
    def panicked(self) -> bool:
        """A trap in the kernel, a reset, or a stack that is not what was left there."""
        clobbered = any(process.clobbered for process in self.run.processes)
        return self.run.panic is not None or self.run.outcome == "reset" or clobbered

    @property
    def holds(self) -> bool:
        """Whether it went as expected: a module that is right runs to its end."""
        if self.must_panic:
            return self.panicked
        return self.run.outcome == "done" and not self.panicked


@dataclass(frozen=True)
class Demonstration:
    """All scenes on one machine."""

    machine: str
    name: str
    version: str
    cpus: int
    rounds: int
    scenes: tuple[Scene, ...]

    @property
    def holds(self) -> bool:
        """Whether each scene went as expected."""
        return all(scene.holds for scene in self.scenes)


def panic_scenes(
    machine: str, case: Case, *, cpus: int = 2, seed: int = 1, limit: float | None = None
) -> Demonstration:
    """The original, and the patched module if ``case`` is about one.

    Raises UsageError if the machine is not there, AlreadyFixedError for a module with a source fix:
    its C side repairs what the switch leaves, and the processes here call the switch alone.
    """
    emulator = require(machine)
    if not case.is_patched and case.fix != FixModel():
        raise AlreadyFixedError(
            "it carries a source fix outside of the switch, and only the switch runs here",
            where=case.original.name,
            todo=f"'kpatch verify --machine {machine}' takes the fix into account",
        )
    settings = replace(
        settings_for(machine, case, cpus=cpus, rounds=ROUNDS[machine], seed=seed),
        mode="panic",
        delay=0,
        patience=_CLOCK[machine],
    )
    named = [("the module as it was built", case.original, True)]
    if case.is_patched:
        named.append(("the patched module", case.module, False))
    scenes = tuple(
        Scene(name, must, run(machine, rom(subject_of(case, module), settings), cpus, limit))
        for name, module, must in named
    )
    return Demonstration(
        machine, emulator.name, version_of(emulator), cpus, ROUNDS[machine], scenes
    )
