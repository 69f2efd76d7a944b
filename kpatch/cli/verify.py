"""``kpatch verify``: explore every interleaving of a module's world switch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpatch import repair
from kpatch import storage as files
from kpatch.cli import completion, machines
from kpatch.cli.asked import Asked
from kpatch.cli.common import (
    FILES,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    output_beside,
    path_type,
    signatures_option,
)
from kpatch.cli.console import Console
from kpatch.cli.machines import MachineTests
from kpatch.containers import target as targets
from kpatch.errors import DONE, UsageError
from kpatch.kernel.host import SELECTORS, Host
from kpatch.readback import has_note, others_reading
from kpatch.verify.proof import MAX_STATES

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry


@click.command("verify")
@FILES
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.scenarios,
    help="Only this; may be repeated.",
)
@click.option("--cpus", metavar="N[,N...]", help="Numbers of CPUs, 1 to 16.")
@click.option(
    "--model",
    type=click.Choice(["sc", "tso", "both"]),
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
    default=MAX_STATES,
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
@click.option(
    "--replay",
    metavar="SCHEDULE",
    help="Run one schedule and show its lanes: no verdict, exit code 0.",
)
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

    Without options: every scenario, under sc and tso, with 2, 4 and 16 CPUs, and with 1 those of a
    kernel for one CPU. 'kpatch apply' proves the same without 16.
    With --osversion or --kernel a FILE that is not affected there, or is patched for another
    kernel, is refused as 'kpatch apply' refuses it.
    The verdict names what was proven, nothing more. The exit code is 0 if all is proven, 17 if
    something is wrong or the verdict is withheld, 1 if a bound or an interrupt ended it early, or
    nothing could be explored (not judged): the source fix in the module cannot be run, or no
    --scenario applies to it.
    """
    machine_tests.require()
    asked = Asked(
        scenarios=scenarios,
        cpus=cpus,
        model=model,
        tr_selector=tr_selector,
        max_states=max_states,
        max_seconds=max_seconds,
        por=not no_por,
        symmetry=not no_symmetry,
        every_instruction=every_instruction,
        replay=replay,
    )
    _require(asked)
    if replay is None and (ignored := _said_of_cpus(asked)):
        console.say(f"kpatch: {ignored}")

    chosen = list(files.expand(paths))
    traced: list[FileEntry] = []
    place = None if trace is None else output_beside("--trace", trace, chosen)
    interrupted = False

    def verify(path: Path) -> tuple[list[FileEntry], int]:
        nonlocal interrupted
        found: list[FileEntry] = []
        code = DONE
        for inside in targets.open_target(path).modules:
            is_likely = replay is None and has_note(inside.data)
            with others_reading(is_likely=is_likely) as others:
                # Imported here, beside the readers.
                from kpatch.cli import explored

                wanted = explored.wanted_proof(asked)
                assessed = repair.scan(inside.data, inside.name, host=host, signatures=signatures)
                if wanted.schedule is not None:
                    shown = explored.show_replay(assessed, wanted, wanted.schedule, console)
                else:
                    shown = explored.show_exploration(
                        assessed, wanted, jobs or 0, machine_tests, others, str(path), console
                    )
            found.append(shown.document)
            code = max(code, shown.code)
            if not console.json:
                console.data(shown.text)
            interrupted = shown.is_interrupted
            if interrupted:
                break
        traced.extend(found)
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


def _require(asked: Asked) -> None:
    """Raise UsageError for a mistake in what was named, before any file is opened."""
    if asked.max_seconds is not None and math.isnan(asked.max_seconds):
        raise UsageError("that is not a number", where="--max-seconds", todo="name seconds")
    if asked.scenarios or asked.cpus is not None or asked.replay is not None:
        # Imported here: without these there is no mistake, and all this may load beside LIEF.
        from kpatch.cli import explored

        explored.wanted_proof(asked)


def _said_of_cpus(asked: Asked) -> str:
    """What --cpus cannot change in the scenarios that were named; empty if it can."""
    if asked.cpus is None or not asked.scenarios:
        return ""
    # Imported here, as above.
    from kpatch.cli import explored

    return explored.said_of_cpus(asked.scenarios, asked.cpus)
