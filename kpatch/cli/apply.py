"""``kpatch apply``: repair, prove, and only then replace."""

from __future__ import annotations

from pathlib import Path

import click

from kpatch.cli import files, targets
from kpatch.cli.common import FILES, Console, Host, console_options, each_file, kernel_options
from kpatch.cli.repair import Proof, Repaired, repair
from kpatch.cli.targets import Changed, Target
from kpatch.elf.module import Module, read_module
from kpatch.errors import DONE
from kpatch.patch.diff import diff_modules
from kpatch.patch.note import digest
from kpatch.report import documents
from kpatch.report.diff_text import unified
from kpatch.report.documents import Document


@click.command("apply")
@FILES
@click.option("--dry-run", is_flag=True, help="Show the diff and write nothing at all.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write here (a folder where there are several FILEs), and leave FILE alone.",
)
@click.option("--no-verify", is_flag=True, help="Patch without the proof.")
@click.option("--no-copy", is_flag=True, help="Keep no copy of the original beside the file.")
@click.option(
    "--replace-source-fix",
    is_flag=True,
    help="Switch off source fix A or B, and patch.",
)
@kernel_options
@console_options
def command(
    paths: tuple[Path, ...],
    dry_run: bool,
    output: Path | None,
    no_verify: bool,
    no_copy: bool,
    replace_source_fix: bool,
    host: Host,
    console: Console,
) -> int:
    """Repair each FILE: a module, a .ko.gz, a package, or a folder of them.

    The patch is proven first, over every interleaving; what cannot be proven is not written. The
    original is kept beside the file, compressed. A file that is patched already stays as it is.
    """
    chosen = list(files.expand(paths))
    proof: Proof | None = None
    if not no_verify and not dry_run:
        # Imported here: the emulator costs start-up time that a dry run need not pay.
        from kpatch.cli.proof import prove

        def proof(patched: Module, original: Module) -> Document:
            return prove(patched, original, console)

    def patch(path: Path) -> tuple[list[Document], int]:
        target = targets.open_target(path)
        done: list[Repaired] = []

        def change(name: str, data: bytes) -> bytes:
            done.append(
                repair(name, data, host, replace_source_fix=replace_source_fix, proof=proof)
            )
            return done[-1].after

        if not dry_run and output is None:
            files.require_replaceable(path)
        changed = targets.changed(target, change, patched=True)
        document = _document(path, target, changed, done[0])
        if dry_run:
            _show(document, done[0], console)
        else:
            place = files.destination(path, output, len(chosen))
            _write(document, path, place, target, changed, copy=not no_copy)
            _tell(document, done[0], no_verify, console)
        return [document], DONE

    return each_file("apply", chosen, console, patch)


def _document(path: Path, target: Target, changed: Changed, done: Repaired) -> Document:
    found = documents.assessment(done.assessment)
    return {
        "file": str(path),
        "status": "already-patched",
        "before": {"size": len(target.data), "sha256": digest(target.data)},
        "after": {"size": len(changed.data), "sha256": digest(changed.data)},
        "module": found,
        "proof": done.proof,
        "notices": list(changed.notices),
    }


def _show(document: Document, done: Repaired, console: Console) -> None:
    """The dry run: the diff of the module, whatever it is wrapped in."""
    name = done.assessment.module.name
    if not done.is_new:
        console.say(f"{name}: patched already, nothing to do")
        return
    document["status"] = "would-patch"
    difference = diff_modules(done.assessment.module, read_module(done.after, f"{name} (patched)"))
    document["diff"] = documents.difference(difference)
    if not console.json:
        console.data(unified(document["diff"], console.style))
    for notice in document["notices"]:
        console.say(f"{document['file']}: {notice}")
    console.say(f"{name}: dry run: nothing was written, and nothing was verified")


def _write(
    document: Document, path: Path, place: Path, target: Target, changed: Changed, *, copy: bool
) -> None:
    in_place = place == path.resolve()
    if changed.data != target.data:
        document["status"] = "patched"
        if in_place and copy:
            document["copy"] = str(files.keep_copy(place, target.data))
        files.replace(place, changed.data, like=path)
    elif not in_place:
        files.replace(place, changed.data, like=path)
    document["output"] = str(place)
    document["in_place"] = in_place


def _tell(document: Document, done: Repaired, no_verify: bool, console: Console) -> None:
    file = document["file"] if document["in_place"] else document["output"]
    for notice in document["notices"]:
        console.say(f"{file}: {notice}")
    if document["status"] == "already-patched":
        console.say(f"{file}: patched already, nothing to do")
        return
    fix = done.assessment.source_fix
    if fix is not None:
        console.say(f"{file}: source fix {fix.variant} is switched off")
    if "copy" in document:
        console.say(f"{file}: the original is kept in {document['copy']}")
    if no_verify:
        console.say(f"{file}: patched, NOT VERIFIED (--no-verify): run 'kpatch verify {file}'")
    else:
        console.say(f"{file}: patched and proven")
