"""``kpatch demo``: the panic of 2008 on a module, and that it is gone once it is patched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpatch import repair
from kpatch.cli.common import FILES, Signatures, console_options, each_file, signatures_option
from kpatch.cli.console import Console
from kpatch.cli.machines import ended_with_kpatch
from kpatch.containers import target as targets
from kpatch.errors import DONE, FINDING
from kpatch.patch.sides import as_patched
from kpatch.proving import case_of
from kpatch.report.demo_text import demo_text

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry
    from kpatch.report.typed_proof import Demonstrated


@click.command("demo")
@FILES
@click.option(
    "--machine",
    type=click.Choice(["qemu", "bochs"]),
    default="qemu",
    show_default=True,
    help="Where it is shown.",
)
@click.option(
    "--machine-cpus",
    type=click.IntRange(2, 16),
    default=2,
    metavar="N",
    show_default=True,
    help="CPUs of that machine.",
)
@click.option(
    "--machine-seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="The most that one run there may take.",
)
@signatures_option
@console_options
def command(
    paths: tuple[Path, ...],
    machine: str,
    machine_cpus: int,
    machine_seconds: float | None,
    signatures: Signatures,
    console: Console,
) -> int:
    """Run each FILE as it was built, and patched, on a bare machine with processes and a clock.

    As it was built, the module leaves another CPU's TSS behind, two CPUs use one kernel stack,
    and the kernel panics: the message is shown. Patched, it runs on. FILE is not changed. The
    exit code is 0 if both are shown, 1 if not.
    """
    from kpatch.panicdemo import panic_scenes
    from kpatch.report.machine_documents import demonstrated
    from kpatch.witness.machine.emulators import require

    require(machine)

    def demonstrate(path: Path) -> tuple[list[FileEntry], int]:
        shown: list[Demonstrated] = []
        for inside in targets.open_target(path).modules:
            found = repair.scan(inside.data, inside.name, signatures=signatures)
            case = case_of(as_patched(found, signatures))
            with ended_with_kpatch():
                scenes = panic_scenes(machine, case, cpus=machine_cpus, limit=machine_seconds)
            document = demonstrated(inside.name, scenes)
            shown.append(document)
            if not console.json:
                console.data(demo_text(inside.name, document, console.style))
        holds = all(document["holds"] for document in shown)
        return [*shown], DONE if holds else FINDING

    return each_file("demo", paths, console, demonstrate, named=paths)
