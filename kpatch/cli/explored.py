"""What ``kpatch verify`` explores: the words of its options as obligations, bounds, a schedule.

It loads the emulator, so :mod:`kpatch.cli.verify` imports it late: beside the readers.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch import expected
from kpatch import storage as files
from kpatch.cli import progress
from kpatch.cli.common import code_of
from kpatch.errors import DONE, UsageError, VerificationError
from kpatch.patch.assess import Verdict
from kpatch.proving import case_of, prove_case
from kpatch.report.lanes_text import lanes_text
from kpatch.report.proof_documents import replayed, verified
from kpatch.report.proof_text import proof_text, quiet_text
from kpatch.verify.explore import MemoryModel, Schedule, from_text
from kpatch.verify.machine.scenarios import SCENARIOS, scenario_named
from kpatch.verify.proof.obligations import Obligation, default_suite, suite
from kpatch.verify.proof.tasks import Bounds, replayed_lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kpatch.cli.asked import Asked
    from kpatch.cli.console import Console
    from kpatch.cli.machines import MachineTests
    from kpatch.patch.assess import Assessment
    from kpatch.report.typed import FileEntry
    from kpatch.report.typed_proof import Verified
    from kpatch.witness.readers.background import Background

_MODELS = {
    "sc": (MemoryModel.SC,),
    "tso": (MemoryModel.TSO,),
    "both": (MemoryModel.SC, MemoryModel.TSO),
}
_DIGITS = 9
"""Of a number of CPUs. Far more than there are, and few enough for any machine to read."""


class WantedProof(NamedTuple):
    """What is explored, within which bounds; or the one schedule that is run."""

    obligations: tuple[Obligation, ...]
    bounds: Bounds
    schedule: Schedule | None


class ShownModule(NamedTuple):
    """What one module came to: its document, the text of that, the exit code."""

    document: FileEntry
    text: str
    code: int
    is_interrupted: bool = False


@functools.cache
def wanted_proof(asked: Asked) -> WantedProof:
    """What the options ask for. Raises UsageError."""
    bounds = Bounds(
        max_states=asked.max_states,
        max_seconds=asked.max_seconds or float("inf"),
        por=asked.por,
        symmetry=asked.symmetry,
        every_instruction=asked.every_instruction,
    )
    schedule = None if asked.replay is None else _schedule(asked.replay)
    return WantedProof(_obligations(asked), bounds, schedule)


def show_replay(
    assessed: Assessment, wanted: WantedProof, schedule: Schedule, console: Console
) -> ShownModule:
    """Run one schedule. Raises UsageError for a move that cannot be made."""
    obligation = _only(wanted.obligations)
    shown = replayed_lanes(case_of(assessed), obligation, schedule, wanted.bounds)
    document = replayed(assessed.module.name, obligation.title, shown)
    lines = lanes_text(document["lanes"], console.style, console.fold_at)
    return ShownModule(document, "\n".join(lines), DONE)


def show_exploration(
    assessed: Assessment,
    wanted: WantedProof,
    jobs: int,
    machine_tests: MachineTests,
    others: Background,
    path: str,
    console: Console,
) -> ShownModule:
    """Explore what is wanted, and have ``others`` read a patched module beside that."""
    case = case_of(assessed)
    machine_tests.require_functions(case.module)
    if assessed.note:
        others.read(case.module.data, expected.as_read(case.module))
    name = assessed.module.name
    with progress.shown(console, jobs, name) as proving:
        proof = prove_case(case, proving, wanted.obligations, wanted.bounds)
    readings = others.readings()
    tests = [] if proof.is_interrupted else machine_tests.run(case, console)
    document = verified(name, proof, readings, tests)
    if console.quiet:
        text = quiet_text(name, document, console.style)
    else:
        text = proof_text(
            name,
            document,
            console.style,
            verbose=console.verbose,
            width=console.fold_at,
            path=path,
            given=console.given,
            repair=_repair(assessed, path),
            image=_image(assessed),
        )
    return ShownModule(document, text, _exit_code(document), proof.is_interrupted)


def _repair(assessed: Assessment, path: str) -> str:
    """The words of ``kpatch`` that repair what was explored; empty where none do."""
    if files.kept_for(Path(path)):
        return ""
    if assessed.verdict is Verdict.AFFECTED and assessed.refusal is None:
        return "apply"
    fix = assessed.source_fix
    return "apply --replace-source-fix" if fix is not None and fix.is_replaceable else ""


def _image(assessed: Assessment) -> str:
    """Where the monitor image begins, as scan names places; empty where that is not known."""
    if assessed.match is None:
        return ""
    image = assessed.match.image
    return f"{image.section.name}+{image.at:#x}"


def _obligations(asked: Asked) -> tuple[Obligation, ...]:
    if not asked.scenarios and asked.cpus is None and asked.model is None:
        found = default_suite(with_maxcpu=True)
    else:
        cpus = _numbers("2,4" if asked.cpus is None else asked.cpus)
        scenarios = [scenario_named(name) for name in asked.scenarios]
        found = suite(scenarios, cpus, _MODELS[asked.model or "both"])
    if asked.tr_selector is None:
        return found
    only = int(asked.tr_selector, 16)
    return tuple(dict.fromkeys(replace(obligation, tr_selector=only) for obligation in found))


def said_of_cpus(scenarios: Sequence[str], cpus: str) -> str:
    """That ``scenarios`` of a kernel for one CPU run with 1; empty where ``cpus`` names it too."""
    alone = [each.name for each in SCENARIOS if each.one_cpu and each.name in scenarios]
    if not alone or 1 in _numbers(cpus):
        return ""
    return f"{', '.join(alone)}: a kernel for one CPU, so it is run with 1, not with --cpus {cpus}"


def _schedule(text: str) -> Schedule:
    """The schedule to replay. Raises UsageError for text that is none."""
    schedule = from_text(text)
    if not schedule:
        raise UsageError("the schedule is empty", where="--replay", todo="name a move, as 0")
    return schedule


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and len(word) <= _DIGITS for word in words):
        raise UsageError(f"'{text}' is not a list of numbers", where="--cpus", todo="as 2,4,16")
    return [int(word) for word in words]


def _only(obligations: tuple[Obligation, ...]) -> Obligation:
    """The one obligation that a schedule belongs to."""
    first = obligations[0]
    if any(
        replace(obligation, tr_selector=first.tr_selector) != first for obligation in obligations
    ):
        raise UsageError(
            "a schedule belongs to one scenario, one number of CPUs and one memory model",
            where="--replay",
            todo="add --scenario, --cpus and --model",
        )
    return first


def _exit_code(document: Verified) -> int:
    tested = [machine["verdict"] == "passed" for machine in document["machines"]]
    if not all((*(reader["agrees"] for reader in document["readers"]), *tested)):
        return VerificationError.exit_code
    return code_of(document["verdict"])
