"""``kpatch revert``: give back the original, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kpatch import repair
from kpatch import storage as files
from kpatch.cli.boundary import untouched
from kpatch.cli.common import (
    FILES,
    Signatures,
    console_options,
    each_file,
    path_type,
    signatures_option,
)
from kpatch.cli.console import Console
from kpatch.containers import target as targets
from kpatch.containers.copies import contents_of, copies_of
from kpatch.containers.rewrap import Changed, reverted_target
from kpatch.containers.target import Target
from kpatch.errors import DONE, DamagedFileError
from kpatch.patch.giveback import GivenBack, is_original_of
from kpatch.report.apply_text import loading
from kpatch.report.file_documents import reverted

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry


@click.command("revert")
@FILES
@click.option(
    "-o",
    "--output",
    type=path_type,
    metavar="PATH",
    help="Write here (a folder where there are several FILEs), and leave FILE alone.",
)
@signatures_option
@console_options
def command(
    paths: tuple[Path, ...], output: Path | None, signatures: Signatures, console: Console
) -> int:
    """Take the patch back out of each FILE: a module, a package, or a folder of them.

    A module may be compressed (.ko.gz, .xz, .zst, .bz2).
    The original is made from the patched file alone, and its SHA-256 is checked before anything
    is replaced. A compressed file or a package is given back as it was where its kept copy is
    there; else its contents are the original's, compressed again. A file that another tool stripped
    since cannot give the original: the repair is taken out, and that is said.
    """
    chosen = list(files.expand(paths))
    files.require_output(output, chosen)

    def revert(path: Path) -> tuple[list[FileEntry], int]:
        target = targets.open_target(path)
        place = files.destination(path, output)
        taken: list[GivenBack] = []

        def back(name: str, data: bytes) -> bytes:
            taken.append(repair.take_back(data, name, signatures=signatures))
            return taken[-1].data

        try:
            with untouched():
                changed = reverted_target(target, back)
        except DamagedFileError as error:
            raise _with_copies(error, target, signatures) from None
        stored = targets.store(target, changed.data, place, in_place=output is None)
        notices = [*changed.notices, *stored.notices]
        for notice in notices:
            console.say(f"{place}: {notice}")
        for line in _said(taken[0], changed, path):
            console.say(f"{place}: {line}")
        if len(chosen) == 1:
            told = loading("the patched", packed=target.modules[0].name != str(path))
            console.say(f"next: on its machine, {told}")
        document = reverted(target, changed, taken[0], place, notices)
        return [document], DONE

    return each_file("revert", chosen, console, revert, named=paths)


def _said(taken: GivenBack, changed: Changed, path: Path) -> Iterator[str]:
    sha256 = changed.data.digest()
    if taken.is_original and changed.is_exact:
        yield f"the original is back, SHA-256 {sha256}"
    elif taken.is_original:
        yield (
            "the contents are the original's, in a container that was written again, "
            f"SHA-256 {sha256}"
        )
    else:
        yield (
            "the repair is taken out; this is not the original, because another tool changed the "
            f"file after the patch; SHA-256 {sha256}"
        )
        for copy in copies_of(path):
            contents = contents_of(copy)
            if contents is not None and contents.digest() == taken.original_sha256:
                yield f"the original is kept in {copy}"


def _with_copies(
    error: DamagedFileError, target: Target, signatures: Signatures
) -> DamagedFileError:
    """The refusal, naming the copies of the original that are there, and others by that name."""
    if target.kind is not None:
        return error
    module = target.only_module
    kept: list[str] = []
    others: list[str] = []
    for copy in copies_of(target.path):
        contents = contents_of(copy)
        is_kept = contents is not None and is_original_of(contents.whole(), module, signatures)
        (kept if is_kept else others).append(str(copy))
    if kept:
        error.todo = f"a copy of the original was kept in {' or '.join(kept)}"
    elif others:
        error.todo += f" ({' and '.join(others)}: nothing tells that it holds this one's original)"
    return error
