"""What other readers and other machines say of a module, as JSON-ready data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kpatch.machinetest import MachineTest, Tried
    from kpatch.panicdemo import Demonstration, Scene
    from kpatch.report.typed_proof import (
        CpuFacts,
        Demonstrated,
        MachineFacts,
        PanicFacts,
        ReadingFacts,
        SceneFacts,
        TriedFacts,
    )
    from kpatch.witness.machine.result import CpuReport, Panic
    from kpatch.witness.readers.readback import Reading


def readings(found: Iterable[Reading]) -> list[ReadingFacts]:
    """What each other reader says of a file."""
    return [
        {
            "reader": reading.reader,
            "version": reading.version,
            "agrees": reading.agrees,
            "differences": list(reading.differences),
        }
        for reading in found
    ]


def machine_tested(test: MachineTest) -> MachineFacts:
    """A module's own switch on one machine."""
    return {
        "machine": test.machine,
        "name": test.name,
        "version": test.version,
        "cpus": test.cpus,
        "rounds": test.rounds,
        "enough": test.enough,
        "verdict": test.verdict,
        "runs": [_tried(tried) for tried in test.tried],
    }


def _tried(tried: Tried) -> TriedFacts:
    trial, run = tried.trial, tried.run
    return {
        "name": trial.name,
        "kind": "control" if trial.must_fail else "test",
        "gdt": "private" if trial.settings.private_gdt else "shared",
        "holds": tried.holds,
        "outcome": run.outcome,
        "rounds": run.rounds,
        "wrong_tss": run.wrong_tss,
        "faults": run.faults,
        "seconds": round(run.seconds, 2),
        "findings": list(run.findings),
        "cpus": [_cpu(cpu) for cpu in run.cpus],
        "registers": list(run.registers),
    }


def _cpu(cpu: CpuReport) -> CpuFacts:
    return {
        "number": cpu.number,
        "rounds": cpu.rounds,
        "ist": cpu.ist,
        "rsp0": cpu.rsp0,
        "loaded": cpu.loaded,
        "faults": cpu.faults,
        "registers": cpu.registers,
        "controls": cpu.controls,
        "wrong": cpu.wrong,
        "stack": cpu.stack,
        "monitor": cpu.monitor,
        "ticks": cpu.ticks,
        "least": cpu.least,
        "vector": cpu.vector,
        "error": cpu.error,
        "rip": cpu.rip,
        "cr2": cpu.cr2,
    }


def demonstrated(file: str, shown: Demonstration) -> Demonstrated:
    """The panic of 2008 on one module, and that it is gone."""
    return {
        "file": file,
        "verdict": "shown" if shown.holds else "not-shown",
        "machine": shown.machine,
        "name": shown.name,
        "version": shown.version,
        "cpus": shown.cpus,
        "rounds": shown.rounds,
        "holds": shown.holds,
        "scenes": [_scene(scene) for scene in shown.scenes],
    }


def _scene(scene: Scene) -> SceneFacts:
    run = scene.run
    return {
        "name": scene.name,
        "must_panic": scene.must_panic,
        "holds": scene.holds,
        "panicked": scene.panicked,
        "outcome": run.outcome,
        "said": run.said,
        "seconds": round(run.seconds, 2),
        "panic": None if run.panic is None else _panic(run.panic),
        "processes": [
            {"cpu": process.cpu, "rounds": process.rounds, "clobbered": process.clobbered}
            for process in run.processes
        ],
        "registers": list(run.registers),
    }


def _panic(panic: Panic) -> PanicFacts:
    return {
        "message": list(panic.message),
        "cpu": panic.cpu,
        "stack": panic.stack,
        "vector": panic.vector,
        "error": panic.error,
    }
