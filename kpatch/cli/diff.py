"""``kpatch diff``: what two modules differ in, or what a patch changes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from kpatch.cli.common import (
    Signatures,
    console_options,
    each_file,
    kernel_options,
    path_type,
    signatures_option,
)
from kpatch.cli.console import Console, is_terminal
from kpatch.containers import target as targets
from kpatch.errors import DONE, FINDING
from kpatch.kernel.host import Host
from kpatch.patch.diff import CONTEXT, diff_modules
from kpatch.patch.sides import named_sides
from kpatch.report.diff_documents import diff_document
from kpatch.report.diff_text import side_by_side, summary, unified
from kpatch.report.style import Style
from kpatch.report.typed import FileEntry
from kpatch.report.typed_diff import Compared


@click.command("diff")
@click.argument("before", metavar="A", type=path_type)
@click.argument("after", metavar="[B]", required=False, type=path_type)
@click.option("-u", "--unified", "form", flag_value="unified", help="One column, as diff -u.")
@click.option(
    "-y", "--side-by-side", "form", flag_value="columns", default=True, help="Two columns (usual)."
)
@click.option("--stat", "form", flag_value="stat", help="Only how much changed, and where.")
@click.option(
    "-U",
    "--context",
    type=click.IntRange(0),
    metavar="N",
    help="Equal lines around a change, 3 without it. Implies --unified.",
)
@click.option("--replace-source-fix", is_flag=True, help="Show it as apply with this option.")
@kernel_options
@signatures_option
@console_options
def command(
    before: Path,
    after: Path | None,
    form: str,
    context: int | None,
    replace_source_fix: bool,
    host: Host,
    signatures: Signatures,
    console: Console,
) -> int:
    """Show sections, symbols, relocations and disassembly that differ, side by side.

    With A alone: a patched module is compared with its original, any other with what apply would
    make of it, and the exit code is 0. With A and B it is 0 where they are the same, and 1 where
    they differ.
    """
    # Read out here: an error of B is not one of A.
    given = targets.open_target(after).only_module if after is not None else None

    def compare(path: Path) -> tuple[list[FileEntry], int]:
        one, other = targets.open_target(path).only_module, given
        if other is None:
            one, other = named_sides(
                one, host=host, signatures=signatures, replace_source_fix=replace_source_fix
            )
        found = diff_modules(one, other, CONTEXT if context is None else context, signatures)
        document = diff_document(found)
        if not console.json:
            chosen = "unified" if form == "columns" and context is not None else form
            console.data(_FORMS[chosen](document, console.style))
        return [document], DONE if given is None or found.is_empty else FINDING

    return each_file("diff", [before], console, compare)


def _unified(document: Compared, style: Style) -> str:
    # Exact when piped; a terminal's lines fold at its width.
    width = shutil.get_terminal_size((0, 0)).columns if is_terminal(sys.stdout) else 0
    return unified(document, style, width)


def _columns(document: Compared, style: Style) -> str:
    return side_by_side(document, style, shutil.get_terminal_size((160, 24)).columns)


_FORMS = {"unified": _unified, "columns": _columns, "stat": summary}
