"""How far a proof is, on one line of the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kpatch.cli.common import Console, is_terminal
from kpatch.proving import Proving

if TYPE_CHECKING:
    from kpatch.verify.proof.workers import Standing


@contextlib.contextmanager
def shown(console: Console, jobs: int = 0) -> Iterator[Proving]:
    """A proof in ``jobs`` processes (0: all cores) that shows its progress on a terminal."""
    line = _Line(is_terminal(sys.stderr) and not console.quiet and not console.json)
    try:
        yield Proving(jobs, line.show)
    finally:
        line.clear()


class _Line:
    """One line on the terminal that is written over and over."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._width = 0

    def show(self, standing: Standing) -> None:
        """Show where the proof is."""
        if not self._wanted:
            return
        text = f"proving: {standing.done} of {standing.of}"
        progress = standing.progress
        if progress is not None:
            rate = progress.states / progress.seconds if progress.seconds else 0
            text += (
                f"; {standing.task}: {progress.states} states, {rate:.0f} a second, "
                f"frontier {progress.frontier}"
            )
        self._write(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._wanted and self._width:
            self._write("")
            click.echo("\r", nl=False, err=True)

    def _write(self, text: str) -> None:
        click.echo(f"\r{text:<{self._width}}", nl=False, err=True)
        self._width = len(text)
