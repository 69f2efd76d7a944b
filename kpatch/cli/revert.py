"""``kpatch revert``: give back the original, byte for byte."""

from __future__ import annotations

from pathlib import Path

import click

from kpatch import repair
from kpatch import storage as files
from kpatch.cli.common import FILES, Console, console_options, each_file, path_type
from kpatch.containers import target as targets
from kpatch.digest import digest
from kpatch.errors import DONE
from kpatch.report.documents import Document


@click.command("revert")
@FILES
@click.option(
    "-o",
    "--output",
    type=path_type,
    metavar="PATH",
    help="Write here (a folder where there are several FILEs), and leave FILE alone.",
)
@console_options
def command(paths: tuple[Path, ...], output: Path | None, console: Console) -> int:
    """Take the patch back out of each FILE: a module, a .ko.gz, a package, or a folder of them.

    The original is made from the patched file alone, and its SHA-256 is checked before anything
    is replaced. A compressed file or a package is given back as it was where its kept copy is
    there; else its contents are the original's, compressed again.
    """
    chosen = list(files.expand(paths))
    files.require_output(output, chosen)

    def revert(path: Path) -> tuple[list[Document], int]:
        target = targets.open_target(path)
        place = files.destination(path, output)
        changed = targets.changed(
            target, lambda name, data: repair.revert(data, name), patched=False
        )
        stored = targets.store(target, changed.data, place, in_place=output is None)
        notices = [*changed.notices, *stored.notices]
        for notice in notices:
            console.say(f"{place}: {notice}")
        back = (
            "the original is back"
            if changed.is_exact
            else "the contents are the original's, in a container that was written again"
        )
        console.say(f"{place}: {back}, SHA-256 {digest(changed.data)}")
        return [
            {
                "file": str(path),
                "status": "reverted",
                "output": str(place),
                "before": {"size": len(target.data), "sha256": digest(target.data)},
                "after": {"size": len(changed.data), "sha256": digest(changed.data)},
                "notices": notices,
            }
        ], DONE

    return each_file("revert", chosen, console, revert, named=paths)
