"""What every command has: its options, where it prints, and the loop over files."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeAlias

import click

from kpatch import storage as files
from kpatch.abi.host import Host
from kpatch.cli import boundary
from kpatch.errors import DONE, BugError, KpatchError, OtherModuleError, UsageError
from kpatch.report.printable import printable
from kpatch.report.style import Style

if TYPE_CHECKING:
    from kpatch.report.documents import Document
    from kpatch.signature.model import Signature


def path_type(text: str) -> Path:
    """The path of an option or argument.

    Raises UsageError for the empty name, which would stand for the current folder.
    """
    if not text:
        raise UsageError("a file name is empty", todo="name a file or a folder")
    return Path(text)


Signatures: TypeAlias = "tuple[Signature, ...] | None"
"""Those that ``--signatures`` adds to the shipped ones; None without the option."""

FILES = click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=path_type)


class Console(NamedTuple):
    """Data goes to standard output, talk to standard error."""

    json: bool
    quiet: bool
    verbose: bool
    style: Style

    def data(self, text: str) -> None:
        """Print what the user asked for."""
        click.echo(text, color=self.style.colour or None)

    def say(self, text: str) -> None:
        """Say what happened in one line, unless told to be quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Say in one line what nobody may miss."""
        click.echo(printable(text), err=True)

    def complain(self, error: KpatchError) -> None:
        """Say what went wrong. With ``--json`` the document says it."""
        if not self.json:
            self.warn(f"kpatch: {error}")

    def document(self, document: Document) -> None:
        """Print a document."""
        import json

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
    @click.option("-q", "--quiet", is_flag=True, help="On standard error, only what went wrong.")
    @click.option("-v", "--verbose", is_flag=True, help="Show the evidence too.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, as_json: bool, color: str, quiet: bool, verbose: bool, **options: Any
    ) -> int:
        colour = color == "always" or (
            color == "auto" and is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")
        )
        console = Console(as_json, quiet, verbose, Style(colour))
        return command(*args, console=console, **options)

    return wrapped


def is_terminal(stream: TextIO | None) -> bool:
    """True for a terminal. A stream that was closed before kpatch began is None."""
    return stream is not None and stream.isatty()


def kernel_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--osversion`` and ``--kernel``, read into a ``host``."""

    @click.option("--osversion", metavar="N", help="__FreeBSD_version of the kernel, as 700055.")
    @click.option("--kernel", type=path_type, metavar="PATH", help="The kernel file of the host.")
    @functools.wraps(command)
    def wrapped(*args: Any, osversion: str | None, kernel: Path | None, **options: Any) -> int:
        return command(*args, host=read_host(osversion, kernel), **options)

    return wrapped


def signatures_option(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--signatures``, read into ``signatures``: None without the option."""

    @click.option(
        "--signatures",
        "folders",
        multiple=True,
        type=path_type,
        metavar="DIR",
        help="A folder with signatures of your own, tried first. May be repeated.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, folders: tuple[Path, ...], **options: Any) -> int:
        if not folders:
            return command(*args, signatures=None, **options)
        # Imported here: most calls name none, and the shipped ones are read where they are needed.
        from kpatch.signature.load import load_signatures

        return command(*args, signatures=load_signatures(folders), **options)

    return wrapped


def read_host(osversion: str | None, kernel: Path | None) -> Host:
    """Read the two options. Raises UsageError and what reading a kernel file raises."""
    if osversion is None and kernel is None:
        return Host()
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
    named: Collection[Path] | None = None,
) -> int:
    """Run ``action`` on every file and return the exit code: the highest of them all.

    ``action`` returns the file's documents and its exit code. An error of one file does not keep
    the others from their turn. With ``named``, the files that the user named: others were found
    in folders, and those that are nothing for kpatch are passed over, unless all of them are.
    """
    results: list[Document] = []
    passed_over: list[OtherModuleError] = []
    code = DONE
    for each in paths:
        try:
            found, exit_code = action(each)
        except OtherModuleError as error:
            error.within(str(each))
            found, exit_code = [_refusal(each, error)], error.exit_code
            if named is None or each in named:
                console.complain(error)
            else:
                passed_over.append(error)
                found[0]["status"] = "passed-over"
                exit_code = DONE
                if console.verbose:
                    console.say(f"passed over: {error}")
        except Exception as foreign:
            if isinstance(foreign, OSError) and boundary.is_about_output(foreign):
                raise
            ours = boundary.as_ours(foreign).within(str(each))
            if isinstance(ours, BugError) and console.verbose:
                import traceback

                traceback.print_exception(foreign)
            console.complain(ours)
            found, exit_code = [_refusal(each, ours)], ours.exit_code
        results += found
        code = max(code, exit_code)
    if passed_over and len(passed_over) == len(results):
        console.complain(_nothing_for_us(len(passed_over)))
        code = OtherModuleError.exit_code
    if console.json:
        from kpatch.report import documents

        console.document(documents.envelope(command, results, code))
    return code


def _refusal(path: Path, error: KpatchError) -> Document:
    from kpatch.report import documents

    return documents.refusal(str(path), error)


def _nothing_for_us(count: int) -> OtherModuleError:
    return OtherModuleError(
        f"none of the {count} files in the folders is a module for this",
        todo="-v says of each what it is",
    )
