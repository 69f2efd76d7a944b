"""``kpatch verify``: explore every interleaving of a module's world switch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kpatch.cli import files, targets
from kpatch.cli.common import FILES, Console, console_options, each_file, path_type
from kpatch.cli.proof import case_of, explore
from kpatch.elf.module import Module, read_module
from kpatch.errors import DONE, FINDING, UsageError, VerificationError
from kpatch.patch.note import read_note
from kpatch.patch.original import original_of
from kpatch.report.documents import Document
from kpatch.report.lanes_text import lanes_text
from kpatch.report.proof_text import proof_text
from kpatch.verify.explore import MemoryModel, from_text
from kpatch.verify.obligations import Obligation, default_suite, suite
from kpatch.verify.proof import Bounds
from kpatch.verify.proof import replay as replay_schedule

_MODELS = {
    "sc": (MemoryModel.SC,),
    "tso": (MemoryModel.TSO,),
    "both": (MemoryModel.SC, MemoryModel.TSO),
}


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
    help="The same by time; without it there is no end.",
)
@click.option("--no-por", is_flag=True, help="Without the reductions over invisible steps.")
@click.option("--no-symmetry", is_flag=True, help="Without treating CPUs as interchangeable.")
@click.option("--every-instruction", is_flag=True, help="Switch CPUs at every instruction.")
@click.option("--replay", metavar="SCHEDULE", help="Run one schedule and show its lanes.")
@click.option("--trace", type=path_type, metavar="PATH", help="Write the document here, as JSON.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; all cores without it."
)
@console_options
def command(
    paths: tuple[Path, ...],
    scenarios: tuple[str, ...],
    cpus: str | None,
    model: str | None,
    max_states: int,
    max_seconds: float | None,
    no_por: bool,
    no_symmetry: bool,
    every_instruction: bool,
    replay: str | None,
    trace: Path | None,
    jobs: int | None,
    console: Console,
) -> int:
    """Run each FILE's own switch on emulated CPUs and explore every interleaving.

    Without options: every scenario, under sc and tso with 2 and 4 CPUs, and under sc with 16.
    The verdict names what was proven, nothing more. The exit code is 0 if all is proven, 17 if
    something is wrong or the verdict is withheld, 1 if a bound or an interrupt ended it early.
    """
    obligations = _obligations(scenarios, cpus, model)
    bounds = Bounds(
        max_states=max_states,
        max_seconds=max_seconds or float("inf"),
        por=not no_por,
        symmetry=not no_symmetry,
        every_instruction=every_instruction,
    )

    chosen = list(files.expand(paths))
    traced: list[Document] = []
    place = None if trace is None else files.output_file(trace)

    def verify(path: Path) -> tuple[list[Document], int]:
        found: list[Document] = []
        code = DONE
        for inside in targets.open_target(path).modules:
            module = read_module(inside.data, inside.name)
            case = case_of(module, _original(module))
            if replay is not None:
                obligation = _only(obligations)
                shown = replay_schedule(case, obligation, from_text(replay), bounds)
                document: Document = {
                    "obligation": obligation.title,
                    "lanes": shown.to_document(),
                }
                text = "\n".join(lanes_text(document["lanes"], console.style))
            else:
                document = explore(case, obligations, bounds, console, jobs or 0).to_document()
                code = max(code, _exit_code(document))
                text = proof_text(inside.name, document, console.style, verbose=console.verbose)
            document["file"] = inside.name
            found.append(document)
            if not console.json:
                console.data(text)
        traced.extend(found)
        return found, code

    code = each_file("verify", chosen, console, verify)
    if place is not None:
        files.replace(place, (json.dumps(traced, indent=2, sort_keys=True) + "\n").encode())
        console.say(f"the document is in {trace}")
    return code


def _original(module: Module) -> Module:
    note = read_note(module)
    return read_module(original_of(module, note), module.name) if note else module


def _obligations(
    scenarios: tuple[str, ...], cpus: str | None, model: str | None
) -> tuple[Obligation, ...]:
    if not scenarios and cpus is None and model is None:
        return default_suite(with_maxcpu=True)
    return suite(scenarios, _numbers(cpus or "2,4"), _MODELS[model or "both"])


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"'{text}' is not a list of numbers", where="--cpus", todo="as 2,4,16")
    return [int(word) for word in words]


def _only(obligations: tuple[Obligation, ...]) -> Obligation:
    """The one obligation that a schedule belongs to."""
    if len({each.cpus for each in obligations}) > 1 or len(obligations) > 4:
        raise UsageError(
            "a schedule belongs to one scenario, one number of CPUs and one memory model",
            where="--replay",
            todo="add --scenario, --cpus and --model",
        )
    return obligations[0]


def _exit_code(document: Document) -> int:
    if document["verdict"] == "proven":
        return DONE
    return FINDING if document["verdict"] == "not-proven" else VerificationError.exit_code
