"""``kpatch scan``: what a file is, whether it is affected, and on what that rests."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpatch import storage as files
from kpatch.cli import workers
from kpatch.cli.common import (
    FILES,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    signatures_option,
)
from kpatch.cli.console import Console
from kpatch.cli.scanned import Wish, scan_file
from kpatch.errors import KpatchError
from kpatch.kernel.host import Host

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry


@click.command("scan")
@FILES
@kernel_options
@signatures_option
@console_options
def command(paths: tuple[Path, ...], host: Host, signatures: Signatures, console: Console) -> int:
    """Say what each FILE is: affected, patched, fixed by source, not affected, not kqemu.

    FILE is a module, a compressed one (.ko.gz, .xz, .zst, .bz2) or a package; a folder stands for
    all of them in it. Nothing is changed. The exit code is 0 if nothing needs attention, 1 if
    something is affected, unknown, changed or fixed by source unsoundly, and higher where a file
    could not be read.
    """
    chosen = list(files.expand(paths))
    wish = Wish(
        console.style,
        host,
        signatures,
        console.json,
        console.verbose,
        console.given,
        quiet=console.quiet and not console.json,
    )
    found = workers.in_order(partial(scan_file, wish), chosen)

    def told(path: Path) -> tuple[list[FileEntry], int]:
        outcome = next(found)
        if isinstance(outcome, KpatchError):
            raise outcome
        for text in outcome.texts:
            console.data(text)
        return outcome.documents, outcome.code

    # An error that was raised keeps what refers to it, so nothing else closes it for sure.
    with closing(found):
        return each_file("scan", chosen, console, told)
