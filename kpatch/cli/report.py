"""``kpatch report``: one module, its repair and its proof as a page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kpatch import storage as files
from kpatch.cli import progress
from kpatch.cli.common import (
    Signatures,
    code_of,
    console_options,
    each_file,
    kernel_options,
    output_beside,
    path_type,
    signatures_option,
)
from kpatch.cli.console import Console
from kpatch.containers import target as targets
from kpatch.errors import UsageError
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.patch.assess import assess
from kpatch.patch.sides import Sides, both_sides
from kpatch.proving import case_of, prove_case
from kpatch.report.page.document import page_document
from kpatch.report.typed import FileEntry
from kpatch.report.typed_proof import ProofFacts


@click.command("report")
@click.argument("file", metavar="FILE", type=path_type)
@click.option(
    "-o",
    "--output",
    type=path_type,
    metavar="PATH",
    help="The page; without it FILE's name and .html, in the current folder.",
)
@click.option("--no-verify", is_flag=True, help="Leave the proof out, and the counterexample.")
@kernel_options
@signatures_option
@console_options
def command(
    file: Path,
    output: Path | None,
    no_verify: bool,
    host: Host,
    signatures: Signatures,
    console: Console,
) -> int:
    """Write one self-contained page about FILE: the patch, why it is needed, what is proven.

    FILE is not changed. If it is not patched, the page is about what apply would make of it. The
    page is drawn from the document that --json prints; with --json and without -o there is no page.
    A file that is in its place is replaced only where -o names it. The exit code is 0 if all is
    proven, 17 if something is wrong or the verdict is withheld, 1 if a bound or an interrupt ended
    the proof.
    """
    place = _place(file, output, console)

    def write(path: Path) -> tuple[list[FileEntry], int]:
        module = targets.open_target(path).only_module
        sides = both_sides(module, host=host, signatures=signatures)
        proof = None if no_verify else _proof(sides, host, signatures, console)
        document = page_document(sides, proof, signatures)
        if place is not None:
            # Imported here: the templates cost start-up time.
            from kpatch.report.page.html import page

            text = page(document).encode()
            if output is None:
                _require_new(place)
            files.replace(place, text)
            console.say(f"{path}: the page is {output or place}")
        return [document], code_of(document["verdict"])

    return each_file("report", [file], console, write)


def _place(file: Path, output: Path | None, console: Console) -> Path | None:
    """Where the page goes. Raises UsageError where that would replace what -o does not name."""
    if output is None:
        return None if console.json else _require_new(Path(f"{file.name}.html"))
    return output_beside("-o", output, [file])


def _require_new(place: Path) -> Path:
    if os.path.lexists(place):
        raise UsageError(
            "there is a file of this name, which the page would replace",
            where=str(place),
            todo="name it with -o to replace it, or another file",
        )
    return files.output_file(place)


def _proof(sides: Sides, host: Host, signatures: Signatures, console: Console) -> ProofFacts:
    """Proven for the kernel it was patched for, whichever was named."""
    from kpatch.report.proof_documents import proof_document

    module = sides.after
    with progress.shown(console, name=module.name) as proving:
        as_given = module is sides.given.module and host == UNKNOWN_HOST
        found = sides.given if as_given else assess(module, signatures=signatures)
        return proof_document(prove_case(case_of(found), proving))
