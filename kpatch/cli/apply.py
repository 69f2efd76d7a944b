"""``kpatch apply``: repair, prove, and only then replace."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from kpatch import repair
from kpatch import storage as files
from kpatch.cli import progress
from kpatch.cli.boundary import untouched
from kpatch.cli.common import (
    FILES,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    path_type,
    signatures_option,
)
from kpatch.cli.console import Console, is_terminal
from kpatch.containers import target as targets
from kpatch.containers.rewrap import Changed, patched_target
from kpatch.containers.target import Target
from kpatch.errors import DONE, KernelUnknownError, UsageError
from kpatch.kernel.host import Host
from kpatch.repair import Repaired
from kpatch.report.command_line import command_line, repair_with
from kpatch.report.file_documents import applied, mark_patched, mark_would_patch
from kpatch.report.style import Style
from kpatch.report.typed import Applied, FileEntry


@click.command("apply")
@FILES
@click.option("--dry-run", is_flag=True, help="Show the diff and write nothing at all.")
@click.option(
    "-o",
    "--output",
    type=path_type,
    metavar="PATH",
    help="Write here (a folder where there are several FILEs), and leave FILE alone.",
)
@click.option("--no-verify", is_flag=True, help="Patch without the proof.")
@click.option("--no-copy", is_flag=True, help="Keep no copy of the original beside the file.")
@click.option(
    "--replace-source-fix",
    is_flag=True,
    help="Switch off source fix A or B first, then patch.",
)
@kernel_options
@signatures_option
@console_options
def command(
    paths: tuple[Path, ...],
    dry_run: bool,
    output: Path | None,
    no_verify: bool,
    no_copy: bool,
    replace_source_fix: bool,
    host: Host,
    signatures: Signatures,
    console: Console,
) -> int:
    """Repair each FILE: a module, plain or compressed, a package, or a folder of them.

    A compressed module is a .ko.gz, .ko.xz, .ko.zst or .ko.bz2.
    The patch is proven first, over every interleaving of several CPUs; what cannot be proven is
    not written. The original is kept beside FILE, as FILE.orig.gz or FILE.orig. A file that is
    patched already stays as it is. If the module does not say which kernel it is for, give
    --osversion or --kernel. The exit code is 0 if every FILE is repaired; 'kpatch --help' lists
    the others.
    """
    chosen = list(files.expand(paths))
    files.require_output(output, chosen)

    def patch(path: Path) -> tuple[list[FileEntry], int]:
        if output is None:
            _require_no_copy(path)
        target = targets.open_target(path)
        done: list[Repaired] = []

        def change(name: str, data: bytes) -> bytes:
            with progress.shown(console, name=name) as proving:
                done.append(
                    repair.apply(
                        data,
                        name,
                        host=host,
                        signatures=signatures,
                        replace_source_fix=replace_source_fix,
                        proving=None if no_verify or dry_run else proving,
                        to_write=not dry_run,
                    )
                )
            return done[-1].module.data

        place = files.destination(path, output)
        with untouched(), _said_with_the_file(path, console):
            changed = patched_target(target, change, stays=not no_copy or output is not None)
        document = applied(target, changed, done[0], place, in_place=output is None)
        _show_evidence(document, console)
        if dry_run:
            _show(document, done[0], signatures, console)
        else:
            # Loaded in front of the replacement: nothing may fail behind it and not say so.
            screen = _screen(console) if len(chosen) == 1 else None
            _write(document, place, target, changed, copy=not no_copy)
            _tell(document, console, screen)
        return [document], DONE

    return each_file("apply", chosen, console, patch, named=paths)


def _require_no_copy(path: Path) -> None:
    """Raise UsageError for a kept original: patched, it would be nobody's original."""
    kept_for = files.kept_for(path)
    if kept_for:
        raise UsageError(
            f"this is the copy of the original that kpatch keeps of {kept_for}",
            where=str(path),
            todo="to patch it write to another place with -o",
        )


@contextmanager
def _said_with_the_file(path: Path, console: Console) -> Iterator[None]:
    """A refusal that asks for the kernel ends with the command to run."""
    try:
        yield
    except KernelUnknownError as error:
        if error.option == "--osversion":
            error.todo += f": {repair_with(error.option, str(path), console.given)}"
        raise


def _show_evidence(document: Applied, console: Console) -> None:
    """With ``-v``: what the module was, and what was proven."""
    if not console.verbose:
        return
    # Imported here, as the diff is below: most runs print neither.
    from kpatch.report.proof_text import proof_text
    from kpatch.report.scan_text import scan_text

    plain, found, level = Style(), document["module"], console.verbose
    width = console.width if is_terminal(sys.stderr) else 0
    texts = [scan_text(found, plain, verbose=level)]
    if document["proof"] is not None:
        proof = document["proof"]
        name, path = found["file"], document["file"]
        told = proof_text(
            name, proof, plain, verbose=level, width=width, path=path, given=console.given
        )
        texts.append(told)
    for text in texts:
        for line in text.splitlines():
            console.say(line)


def _show(document: Applied, done: Repaired, signatures: Signatures, console: Console) -> None:
    """The dry run: the diff of the module, whatever it is wrapped in."""
    name = done.assessment.module.name
    if not done.is_new:
        console.say(f"{name}: patched already, nothing to do")
        return
    from kpatch.patch.diff import diff_modules
    from kpatch.report.diff_documents import difference
    from kpatch.report.diff_text import unified

    mark_would_patch(document)
    patched = done.module.called(f"{name} (patched)")
    found = diff_modules(done.assessment.module, patched, signatures=signatures)
    document["diff"] = difference(found)
    if not console.json:
        console.data(unified(document["diff"], console.style))
    for notice in document["notices"]:
        console.say(f"{document['file']}: {notice}")
    if done.assessment.source_fix is not None:
        console.say(f"{name}: source fix {done.assessment.source_fix.variant} is switched off")
    console.say(f"{name}: dry run: nothing was written, and nothing was verified")


def _write(document: Applied, place: Path, target: Target, changed: Changed, *, copy: bool) -> None:
    in_place, is_new = document["in_place"], changed.data != target.data
    if is_new:
        mark_patched(document)
    if is_new or not in_place:
        stored = targets.store(
            target, changed.data, place, in_place=in_place, keep=copy and in_place
        )
        document["notices"] += stored.notices
        if stored.copy is not None:
            document["copy"] = str(stored.copy)


def _screen(console: Console) -> Callable[[Applied], None] | None:
    """What shows a whole screen about one file; None where nobody would see it."""
    if console.json or console.quiet:
        return None
    # Imported here: most runs of several files do not need it.
    from kpatch.report.apply_text import applied_text

    return lambda document: console.screen(
        applied_text(document, console.error_style, console.width, console.given)
    )


def _tell(document: Applied, console: Console, screen: Callable[[Applied], None] | None) -> None:
    """What was done: on ``screen`` if there is one, else in a line."""
    file = document["file"] if document["in_place"] else document["output"]
    for notice in document["notices"]:
        console.say(f"{file}: {notice}")
    if document["status"] == "already-patched":
        done_with = "nothing to do" if document["in_place"] else "copied as it is"
        if document["proof"] is not None:
            # Imported here: without a proof nobody needs it.
            from kpatch.report.bounds import how_far

            done_with = f"and proven now in {how_far(document['proof'])}; {done_with}"
        console.say(f"{file}: patched already, {done_with}")
    elif screen is not None:
        screen(document)
    else:
        _tell_in_a_line(document, file, console)


def _tell_in_a_line(document: Applied, file: str, console: Console) -> None:
    fix = document["module"].get("source_fix")
    more = f"; source fix {fix['variant']} is switched off" if fix else ""
    if "copy" in document:
        more += f"; the original is kept in {document['copy']}"
    if document["proof"] is None:
        again = f"prove it: {command_line('verify', file, console.given)}"
        console.warn(f"{file}: patched, NOT VERIFIED (--no-verify): {again}{more}")
    else:
        console.say(f"{file}: patched and proven{more}")
