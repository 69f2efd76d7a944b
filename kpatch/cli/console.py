"""Where a command prints: data to standard output, talk to standard error, folded and coloured."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TextIO

import click

from kpatch.errors import KpatchError
from kpatch.report.command_line import Given
from kpatch.report.printable import printable
from kpatch.report.style import Style

if TYPE_CHECKING:
    from kpatch.report.typed import Envelope


class Console(NamedTuple):
    """Data goes to standard output, talk to standard error."""

    json: bool
    quiet: bool
    verbose: int
    style: Style
    color: str = "auto"
    given: Given = ()

    def data(self, text: str) -> None:
        """Print what the user asked for; on a terminal it folds."""
        click.echo(_fold(text, self.fold_at), color=self.style.colour or None)

    def exact(self, text: str) -> None:
        """Print what people copy, as it is: a terminal wraps it, and gives it back whole."""
        click.echo(text)

    def say(self, text: str) -> None:
        """Say what happened in one line, unless told to be quiet."""
        if not self.quiet:
            self.warn(text)

    def screen(self, text: str) -> None:
        """Say what takes more than a line. ``text`` is printable already."""
        if not self.quiet:
            click.echo(text, err=True, color=self.error_style.colour or None)

    @property
    def error_style(self) -> Style:
        """Colour for standard error: as told, or as that terminal can."""
        return Style(can_colour(sys.stderr) if self.color == "auto" else self.color == "always")

    @property
    def width(self) -> int:
        """Columns of the terminal, or 80."""
        return _columns()

    @property
    def fold_at(self) -> int:
        """Columns of the terminal that standard output is; 0 for what is piped: it stays exact."""
        return self.width if is_terminal(sys.stdout) else 0

    def warn(self, text: str) -> None:
        """Say in one line what nobody may miss; on a terminal it folds."""
        warn(text)

    def complain(self, error: KpatchError) -> None:
        """Say what went wrong. With ``--json`` the document says it."""
        if not self.json:
            self.warn(f"kpatch: {error}")

    def pieces(self, pieces: Iterable[str]) -> None:
        """Print a document that comes in pieces."""
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo()

    def document(self, document: Envelope) -> None:
        """Print a document."""
        import json

        click.echo(json.dumps(document, indent=2, sort_keys=True))


def warn(text: str) -> None:
    """Say in one line on standard error; on a terminal it folds."""
    click.echo(_fold(printable(text), _columns() if is_terminal(sys.stderr) else 0), err=True)


def _columns() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def is_terminal(stream: TextIO | None) -> bool:
    """True for a terminal. A stream that was closed before kpatch began is None."""
    return stream is not None and stream.isatty()


def _fold(text: str, width: int) -> str:
    if not width:
        return text
    # Imported here: what is piped does not fold.
    from kpatch.report.fold import fold

    return fold(text, width)


def can_colour(stream: TextIO | None) -> bool:
    """Whether ``auto`` is colour: a terminal that can, whose user wants it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not plain
