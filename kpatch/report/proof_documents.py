"""A proof as JSON-ready data; every report of a proof reads this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kpatch.report.documents import title_of
from kpatch.report.machine_documents import machine_tested, readings
from kpatch.verify.proof.checks import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kpatch.machinetest import MachineTest
    from kpatch.report.typed_proof import (
        CheckFacts,
        CounterexampleFacts,
        ExploredFacts,
        LanesFacts,
        ProofFacts,
        ReplayFacts,
        Verified,
        WindowFacts,
    )
    from kpatch.verify.explore import Counterexample
    from kpatch.verify.proof.checks import Check, Window
    from kpatch.verify.proof.lanes import Lanes
    from kpatch.verify.proof.tasks import Explored
    from kpatch.verify.proof.verdict import Proof
    from kpatch.witness.readers.readback import Reading


_NONE_APPLIES: Final = (
    "none of the scenarios that were asked for applies to this module, so name others with "
    "--scenario, or leave that out; those with an unknown struct pcpu are about the guard of a "
    "patch, which it has not"
)


def verified(
    file: str, proof: Proof, others: Sequence[Reading], tests: Sequence[MachineTest]
) -> Verified:
    """What ``verify`` found of one module: the proof, and what other readers and machines say."""
    return {
        **proof_document(proof),
        "file": file,
        "readers": readings(others),
        "machines": [machine_tested(test) for test in tests],
    }


def replayed(file: str, obligation: str, shown: Lanes) -> ReplayFacts:
    """One schedule that was run; ``obligation`` is the title of what it belongs to."""
    return {"file": file, "verdict": "replayed", "obligation": obligation, "lanes": lanes(shown)}


def proof_document(proof: Proof) -> ProofFacts:
    """The proof, whatever its verdict is."""
    tasks = (*(explored.task for explored in proof.explored), *proof.missing)
    return {
        "verdict": proof.verdict,
        "patched": proof.case.is_patched,
        "cpuid": proof.case.cpuid,
        "caveat": _caveat(proof),
        "signature": proof.case.match.signature.id,
        "seconds": round(proof.seconds, 3),
        "max_states": proof.bounds.max_states,
        "every_instruction": proof.bounds.every_instruction,
        "window": None if proof.window is None else _window(proof.window),
        "checks": [_check(check) for check in proof.checks],
        "explored": [_explored(explored) for explored in proof.explored],
        "obligations": sum(task.kind == "obligation" for task in tasks),
        "missing": [
            title_of(task.kind, task.name, task.obligation.model.value) for task in proof.missing
        ],
    }


def _caveat(proof: Proof) -> str:
    fix = proof.case.fix
    is_any = proof.explored or proof.missing or not fix.judged
    return fix.caveat if is_any else "; ".join(filter(None, (fix.caveat, _NONE_APPLIES)))


def _window(window: Window) -> WindowFacts:
    return {
        "patched": window.patched,
        "unpatched": window.unpatched,
        "bound": window.bound,
        "holds": window.holds,
    }


def _check(check: Check) -> CheckFacts:
    return {
        "name": check.name,
        "sentence": SENTENCES[check.name],
        "holds": check.holds,
        "wrong": list(check.wrong),
        "unknown": list(check.unknown),
    }


def _explored(explored: Explored) -> ExploredFacts:
    task, result, options = explored.task, explored.result, explored.result.options
    return {
        "kind": task.kind,
        "name": task.name,
        "scenario": task.obligation.scenario.name,
        "tr_selector": task.obligation.tr_selector,
        "expected": sorted(task.expected),
        "holds": explored.holds,
        "verdict": result.verdict.value,
        "model": options.model.value,
        "cpus": result.cpus,
        "partial_order_reduction": options.por,
        "waiting_loops_reduction": options.spins,
        "symmetry": result.symmetry,
        "states": result.states,
        "transitions": result.transitions,
        "merged": result.merged,
        "frontier": result.frontier,
        "final_states": result.final_states,
        "seconds": round(result.seconds, 3),
        "bound": result.bound.text if result.bound else "",
        "max_states": options.max_states,
        "counterexamples": [_counterexample(*shown) for shown in explored.counterexamples],
    }


def _counterexample(found: Counterexample, shown: Lanes) -> CounterexampleFacts:
    return {
        "prop": found.prop,
        "what": found.what,
        "schedule": found.schedule,
        "preemptions": found.preemptions,
        "fewest": found.fewest,
        "lanes": lanes(shown),
    }


def lanes(shown: Lanes) -> LanesFacts:
    """A schedule as it was replayed."""
    return {
        "cpus": shown.cpus,
        "steps": [
            {
                "cpu": step.cpu,
                "move": step.move,
                "instructions": list(step.instructions),
                "descriptor": list(step.descriptor),
                "tasks": list(step.tasks),
                "buffered": list(step.buffered),
                "violations": list(step.violations),
            }
            for step in shown.steps
        ],
    }
