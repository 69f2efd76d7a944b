"""The panic of 2008: a module before and after the patch, under processes, a clock and real stacks.

On the bare machine every CPU has a process in ring 3 with a kernel stack of its own. A clock
interrupts it through rsp0 of the TSS that is loaded, and it calls the module's switch again and
again. With another CPU's TSS loaded, two CPUs soon use one stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from kpatch.machinetest import settings_for, subject_of
from kpatch.verify.proof.tasks import Case
from kpatch.witness.machine.emulators import require, run, version_of
from kpatch.witness.machine.job import disk
from kpatch.witness.machine.result import MachineRun

ROUNDS: Final = 5_000
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

    def to_document(self) -> dict[str, Any]:
        """JSON-ready data."""
        found = self.run
        return {
            "name": self.name,
            "must_panic": self.must_panic,
            "holds": self.holds,
            "panicked": self.panicked,
            "outcome": found.outcome,
            "said": found.said,
            "seconds": round(found.seconds, 2),
            "panic": None if found.panic is None else found.panic._asdict(),
            "processes": [process._asdict() for process in found.processes],
            "registers": list(found.registers),
        }


def show(
    machine: str, case: Case, *, cpus: int = 2, seed: int = 1, limit: float | None = None
) -> dict[str, Any]:
    """The original, and the patched module if ``case`` is about one, as JSON-ready data.

    Raises UsageError if the machine is not there.
    """
    emulator = require(machine)
    settings = replace(
        settings_for(machine, case, cpus=cpus, rounds=ROUNDS, seed=seed),
        mode="panic",
        delay=0,
        patience=_CLOCK[machine],
    )
    named = [("the module as it was built", case.original, True)]
    if case.is_patched:
        named.append(("the patched module", case.module, False))
    scenes = [
        Scene(name, must, run(machine, disk(subject_of(case, module), settings), cpus, limit))
        for name, module, must in named
    ]
    return {
        "machine": machine,
        "name": emulator.name,
        "version": version_of(emulator),
        "cpus": cpus,
        "rounds": ROUNDS,
        "holds": all(scene.holds for scene in scenes),
        "scenes": [scene.to_document() for scene in scenes],
    }
