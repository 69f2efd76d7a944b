"""``kpatch verify``: explore every interleaving of a module's world switch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from kpatch import expected, repair
from kpatch import storage as files
from kpatch.cli import machines, progress
from kpatch.cli.common import (
    FILES,
    Console,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    path_type,
    signatures_option,
)
from kpatch.cli.machines import MachineTests
from kpatch.containers import target as targets
from kpatch.errors import DONE, FINDING, UsageError, VerificationError
from kpatch.kernel.host import Host
from kpatch.proving import case_of, prove_case
from kpatch.readback import has_note, others_reading
from kpatch.report.documents import Document, with_verdict
from kpatch.report.lanes_text import lanes_text
from kpatch.report.proof_documents import replayed, verified
from kpatch.report.proof_text import proof_text
from kpatch.verify.explore import MemoryModel, Schedule, from_text
from kpatch.verify.proof.obligations import SELECTORS, Obligation, default_suite, suite
from kpatch.verify.proof.tasks import Bounds, replayed_lanes

_MODELS = {
    "sc": (MemoryModel.SC,),
    "tso": (MemoryModel.TSO,),
    "both": (MemoryModel.SC, MemoryModel.TSO),
}
_DIGITS = 9
"""Of a number of CPUs. Far more than there are, and few enough for any machine to read."""


@click.command("verify")
@FILES
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this, or these.")
@click.option("--cpus", metavar="N[,N...]", help="Numbers of CPUs, 1 to 16.")
@click.option(
    "--model",
    type=click.Choice(list(_MODELS)),
    help="Stores: at once (sc), or buffered as on x86 (tso).",
)
@click.option(
    "--tr-selector",
    type=click.Choice([f"{selector:#x}" for selector in SELECTORS]),
    help="The host's TR selector, everywhere; without it 0x30 and 0x48.",
)
@click.option(
    "--max-states",
    type=click.IntRange(1),
    metavar="N",
    default=5_000_000,
    show_default=True,
    help="End an exploration here, not proven.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="The same by time, for each exploration.",
)
@click.option("--no-por", is_flag=True, help="Without the reductions over invisible steps.")
@click.option("--no-symmetry", is_flag=True, help="Without treating CPUs as interchangeable.")
@click.option("--every-instruction", is_flag=True, help="Switch CPUs at every instruction.")
@click.option("--replay", metavar="SCHEDULE", help="Run one schedule and show its lanes.")
@machines.options
@click.option("--trace", type=path_type, metavar="PATH", help="Write the document here, as JSON.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; all cores without it."
)
@kernel_options
@signatures_option
@console_options
def command(
    paths: tuple[Path, ...],
    scenarios: tuple[str, ...],
    cpus: str | None,
    model: str | None,
    tr_selector: str | None,
    max_states: int,
    max_seconds: float | None,
    no_por: bool,
    no_symmetry: bool,
    every_instruction: bool,
    replay: str | None,
    machine_tests: MachineTests,
    trace: Path | None,
    jobs: int | None,
    host: Host,
    signatures: Signatures,
    console: Console,
) -> int:
    """Run each FILE's own switch on emulated CPUs and explore every interleaving.

    Without options: every scenario, under sc and tso, with 2, 4 and 16 CPUs.
    With --osversion or --kernel a FILE that is not affected there, or is patched for another
    kernel, is refused as 'kpatch apply' refuses it.
    The verdict names what was proven, nothing more. The exit code is 0 if all is proven, 17 if
    something is wrong or the verdict is withheld, 1 if a bound or an interrupt ended it early, or
    a source fix in the module cannot be run (not judged).
    """
    machine_tests.require()
    obligations = _obligations(scenarios, cpus, model, tr_selector)
    if max_seconds is not None and math.isnan(max_seconds):
        raise UsageError("that is not a number", where="--max-seconds", todo="name seconds")
    schedule = None if replay is None else _schedule(replay)
    bounds = Bounds(
        max_states=max_states,
        max_seconds=max_seconds or float("inf"),
        por=not no_por,
        symmetry=not no_symmetry,
        every_instruction=every_instruction,
    )

    chosen = list(files.expand(paths))
    traced: list[Document] = []
    place = None if trace is None else _place(trace, chosen)
    interrupted = False

    def verify(path: Path) -> tuple[list[Document], int]:
        nonlocal interrupted
        found: list[Document] = []
        code = DONE
        for inside in targets.open_target(path).modules:
            is_likely = schedule is None and has_note(inside.data)
            with others_reading(is_likely=is_likely) as others:
                assessed = repair.scan(inside.data, inside.name, host=host, signatures=signatures)
                case = case_of(assessed)
                machine_tests.require_functions(case.module)
                if schedule is None:
                    if assessed.note:
                        others.read(case.module.data, expected.as_read(case.module))
                    with progress.shown(console, jobs or 0, inside.name) as proving:
                        proof = prove_case(case, proving, obligations, bounds)
                    interrupted = proof.is_interrupted
                    readings = others.readings()
            if schedule is not None:
                obligation = _only(obligations)
                shown = replayed_lanes(case, obligation, schedule, bounds)
                replay_document = replayed(inside.name, obligation.title, shown)
                found.append(replay_document)
                text = "\n".join(
                    lanes_text(replay_document["lanes"], console.style, console.fold_at)
                )
            else:
                tests = [] if interrupted else machine_tests.run(case, console)
                document = verified(inside.name, proof, readings, tests)
                found.append(document)
                code = max(code, _exit_code(document))
                text = proof_text(
                    inside.name,
                    document,
                    console.style,
                    verbose=console.verbose,
                    width=console.fold_at,
                    path=str(path),
                )
            if not console.json:
                console.data(text)
            if interrupted:
                break
        traced.extend(with_verdict(entry) for entry in found)
        return found, code

    def until_interrupted() -> Iterator[Path]:
        for number, path in enumerate(chosen):
            if interrupted:
                rest = len(chosen) - number
                console.say(f"kpatch: interrupted; files that were not looked at: {rest}")
                return
            yield path

    code = each_file("verify", until_interrupted(), console, verify, named=paths)
    if place is not None:
        files.replace(place, (json.dumps(traced, indent=2, sort_keys=True) + "\n").encode())
        console.say(f"the document is in {trace}")
    return code


def _obligations(
    scenarios: tuple[str, ...], cpus: str | None, model: str | None, tr_selector: str | None
) -> tuple[Obligation, ...]:
    if not scenarios and cpus is None and model is None:
        found = default_suite(with_maxcpu=True)
    else:
        found = suite(
            scenarios, _numbers("2,4" if cpus is None else cpus), _MODELS[model or "both"]
        )
    if tr_selector is None:
        return found
    only = int(tr_selector, 16)
    return tuple(dict.fromkeys(replace(obligation, tr_selector=only) for obligation in found))


def _schedule(text: str) -> Schedule:
    """The schedule to replay. Raises UsageError for text that is none."""
    schedule = from_text(text)
    if not schedule:
        raise UsageError("the schedule is empty", where="--replay", todo="name a move, as 0")
    return schedule


def _place(trace: Path, chosen: Sequence[Path]) -> Path:
    """Where the document goes. Raises UsageError where that would replace a module."""
    place = files.output_file(trace)
    for module in chosen:
        if files.is_same(place, module):
            raise UsageError(
                "--trace names a file to verify, which it would replace",
                where=str(module),
                todo="name another file",
            )
    return place


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


def _exit_code(document: Document) -> int:
    tested = [machine["verdict"] == "passed" for machine in document["machines"]]
    if not all((*(reader["agrees"] for reader in document["readers"]), *tested)):
        return VerificationError.exit_code
    if document["verdict"] == "proven":
        return DONE
    undecided = document["verdict"] in ("not-proven", "not-judged")
    return FINDING if undecided else VerificationError.exit_code
