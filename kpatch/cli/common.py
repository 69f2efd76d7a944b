"""What every command has: its options, where it prints, and the loop over files."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kpatch.cli import files
from kpatch.errors import DONE, KpatchError
from kpatch.report import documents
from kpatch.report.documents import Document
from kpatch.report.style import Style

if TYPE_CHECKING:
    from kpatch.abi.kernelfile import KernelFile

FILES = click.argument(
    "paths", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)


@dataclass(frozen=True, slots=True)
class Console:
    """Data goes to standard output, talk to standard error."""

    json: bool
    quiet: bool
    verbose: bool
    style: Style

    def data(self, text: str) -> None:
        """Print what the user asked for."""
        click.echo(text, color=self.style.colour or None)

    def say(self, text: str) -> None:
        """Say what happened, unless told to be quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def complain(self, error: KpatchError) -> None:
        """Say what went wrong. With ``--json`` the document says it."""
        if not self.json:
            click.echo(f"kpatch: {error}", err=True)

    def document(self, document: Document) -> None:
        """Print a document."""
        click.echo(json.dumps(document, indent=2, sort_keys=True))


def console_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--json``, ``--color``, ``-q`` and ``-v``, and pass it a ``console``."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour: auto is a terminal without NO_COLOR.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
    @click.option("-v", "--verbose", is_flag=True, help="Show the evidence too.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, as_json: bool, color: str, quiet: bool, verbose: bool, **options: Any
    ) -> int:
        colour = color == "always" or (
            color == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        )
        console = Console(as_json, quiet, verbose, Style(colour and not as_json))
        return command(*args, console=console, **options)

    return wrapped


def kernel_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--osversion`` and ``--kernel``, read into a ``host``."""

    @click.option("--osversion", metavar="N", help="__FreeBSD_version of the kernel, as 700055.")
    @click.option(
        "--kernel",
        type=click.Path(path_type=Path),
        help="The kernel file that the module is for.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, osversion: str | None, kernel: Path | None, **options: Any) -> int:
        return command(*args, host=read_host(osversion, kernel), **options)

    return wrapped


@dataclass(frozen=True, slots=True)
class Host:
    """What the user says of the host kernel."""

    osversion: int | None = None
    kernel: KernelFile | None = None

    @property
    def is_given(self) -> bool:
        """True if the user said anything."""
        return self.osversion is not None or self.kernel is not None


def read_host(osversion: str | None, kernel: Path | None) -> Host:
    """Read the two options. Raises UsageError and what reading a kernel file raises."""
    # Imported here: most calls name no kernel.
    from kpatch.abi.kernelfile import read_kernel
    from kpatch.abi.versions import parse_osversion

    number = None if osversion is None else parse_osversion(osversion)
    if kernel is None:
        return Host(number)
    return Host(number, read_kernel(files.read(kernel), str(kernel)))


def each_file(
    command: str,
    paths: Iterable[Path],
    console: Console,
    action: Callable[[Path], tuple[list[Document], int]],
) -> int:
    """Run ``action`` on every file and return the exit code: the highest of them all.

    ``action`` returns the file's documents and its exit code. An error of one file does not keep
    the others from their turn.
    """
    results: list[Document] = []
    code = DONE
    for path in paths:
        try:
            found, exit_code = action(path)
        except KpatchError as error:
            error.within(str(path))
            console.complain(error)
            found, exit_code = [documents.refusal(str(path), error)], error.exit_code
        results += found
        code = max(code, exit_code)
    if console.json:
        console.document(documents.envelope(command, results, code))
    return code
