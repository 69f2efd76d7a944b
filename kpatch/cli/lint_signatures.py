"""``kpatch lint-signatures``: what is wrong with a signature while it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpatch import storage as files
from kpatch.cli.common import FILES, console_options, each_file, path_type
from kpatch.cli.console import Console
from kpatch.entry import as_text
from kpatch.errors import DONE, FINDING
from kpatch.patch.lint import lint
from kpatch.report.file_documents import linted

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry


@click.command("lint-signatures")
@FILES
@click.option(
    "--examples",
    type=path_type,
    metavar="DIR",
    help="Where the modules named under examples lie; without it, beside FILE.",
)
@console_options
def command(paths: tuple[Path, ...], examples: Path | None, console: Console) -> int:
    """Check each signature FILE: its schema, its patterns, its examples, its trampolines.

    The exit code is 0 if nothing was found, 1 if a lint found something, 2 if FILE does not parse.
    """

    def check(path: Path) -> tuple[list[FileEntry], int]:
        folder = examples or path.parent
        text = as_text(files.read(path), str(path))
        found = lint(text, str(path), lambda name: files.read(folder / name))
        document = linted(str(path), found)
        if not console.json:
            for finding in found:
                console.data(f"{path}: {finding.lint}: {finding.what}; {finding.todo}")
            if not found:
                console.say(f"{path}: nothing found")
        return [document], FINDING if found else DONE

    return each_file("lint-signatures", paths, console, check)
