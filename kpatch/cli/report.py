"""``kpatch report``: one module, its repair and its proof as a page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from kpatch import storage as files
from kpatch.cli import progress
from kpatch.cli.common import (
    Console,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    path_type,
    signatures_option,
)
from kpatch.containers import target as targets
from kpatch.elf.module import Module, read_module
from kpatch.errors import (
    DONE,
    FINDING,
    KpatchError,
    UnknownModuleError,
    UsageError,
    VerificationError,
)
from kpatch.kernel.host import Host
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.plan import Plan
from kpatch.patch.prepare import prepare
from kpatch.proving import case_of, run_proof
from kpatch.report.documents import Document
from kpatch.report.page.document import page_document


class _Story(NamedTuple):
    """A module before the patch and after it; no plan where the file is not ours to patch."""

    assessment: Assessment
    plan: Plan | None
    after: Module


@click.command("report")
@click.argument("file", metavar="FILE", type=path_type)
@click.option(
    "-o", "--output", type=path_type, metavar="PATH", help="The page; may be left out with --json."
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
    page is drawn from the document that --json prints. The exit code is 0 if all is proven, 17 if
    something is wrong or the verdict is withheld, 1 if a bound or an interrupt ended the proof.
    """
    place = None if output is None else files.output_file(output)
    if place is None and not console.json:
        raise UsageError("the page needs a name", where="-o", todo="as -o report.html")
    if place is not None and files.is_same(place, file):
        raise UsageError(
            "-o names the module, which the page would replace",
            where=str(file),
            todo="name another file, as -o report.html",
        )

    def write(path: Path) -> tuple[list[Document], int]:
        story = _story(path, host, signatures)
        proof = None if no_verify else _proof(story, signatures, console)
        document = page_document(story.assessment, story.plan, story.after, proof)
        if place is not None:
            # Imported here: the templates cost start-up time.
            from kpatch.report.page.html import page

            files.replace(place, page(document).encode())
            console.say(f"{path}: the page is {output}")
        return [document], _exit_code(document["verdict"])

    return each_file("report", [file], console, write)


def _story(path: Path, host: Host, signatures: Signatures) -> _Story:
    modules = targets.open_target(path).modules
    if len(modules) != 1:
        raise UnknownModuleError(
            f"it holds {len(modules)} modules", where=str(path), todo="name one with one module"
        )
    (inside,) = modules
    module = read_module(inside.data, inside.name)
    before = assess(module, signatures=signatures).before
    original = before.module if before else module
    found = assess(original, host=host, signatures=signatures)
    if before is not None:
        return _Story(found, _same_plan(found, module), module)
    if found.verdict is Verdict.SOURCE_FIXED:
        return _Story(found, None, module)
    plan = prepare(found)
    return _Story(found, plan, read_module(apply_plan(plan), inside.name))


def _same_plan(found: Assessment, patched: Module) -> Plan | None:
    """The plan that leads to ``patched``; None where another version of kpatch made it."""
    try:
        plan = prepare(found)
        return plan if apply_plan(plan) == patched.data else None
    except KpatchError:
        return None


def _proof(story: _Story, signatures: Signatures, console: Console) -> Document:
    with progress.shown(console, name=story.after.name) as proving:
        found = assess(story.after, signatures=signatures)
        return run_proof(case_of(found), proving).to_document()


def _exit_code(verdict: str) -> int:
    codes = {"proven": DONE, "not-verified": DONE, "not-proven": FINDING, "not-judged": FINDING}
    return codes.get(verdict, VerificationError.exit_code)
