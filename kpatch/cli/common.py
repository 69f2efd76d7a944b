"""What every command has: its options, where it prints, and the loop over files."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from kpatch import storage as files
from kpatch.cli import boundary
from kpatch.cli.closing import Closing
from kpatch.cli.console import Console, can_colour
from kpatch.errors import (
    DONE,
    FINDING,
    KpatchError,
    OtherModuleError,
    UsageError,
    VerificationError,
)
from kpatch.kernel.host import Host
from kpatch.report.style import Style
from kpatch.units import counted

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from kpatch.report.typed import FileEntry, Refused
    from kpatch.signature.model import Signature

    _ParamType: TypeAlias = click.ParamType[Path]
else:
    _ParamType = click.ParamType  # generic since click 8.2 only


class _PathType(_ParamType):
    """The path of an option or argument. Shells complete it with the names of files.

    Raises UsageError for the empty name, which would stand for the current folder, and for the
    name by which other programs read and write what the shell connects them with.
    """

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not value:
            raise UsageError("a file name is empty", todo="name a file or a folder")
        if value == "-":
            raise UsageError(
                "'-' is no file: kpatch reads and writes files, by their names",
                todo="name the file; one that is called so is ./-",
            )
        return Path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # Imported here: only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


path_type = _PathType()


Signatures: TypeAlias = "tuple[Signature, ...] | None"
"""Those that ``--signatures`` adds to the shipped ones; None without the option."""

FILES = click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=path_type)


def console_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--json``, ``--color``, ``-q`` and ``-v``, and pass it a ``console``."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour: auto is a terminal without NO_COLOR.",
    )
    @click.option(
        "-q",
        "--quiet",
        is_flag=True,
        help="Say only what went wrong; scan and verify: the verdict.",
    )
    @click.option("-v", "--verbose", count=True, help="Show the evidence too; -vv shows all.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, as_json: bool, color: str, quiet: bool, verbose: int, **options: Any
    ) -> int:
        colour = color == "always" or (color == "auto" and can_colour(sys.stdout))
        console = Console(as_json, quiet, verbose, Style(colour), color, _given())
        return command(*args, console=console, **options)

    return wrapped


def _given() -> list[tuple[str, str]]:
    """The options of this call that say what the files are for: what it prints repeats them."""
    chosen = click.get_current_context().params
    kernel = [(f"--{name}", chosen[name]) for name in ("osversion", "kernel") if chosen.get(name)]
    folders = [("--signatures", folder) for folder in chosen.get("folders", ())]
    return [(option, str(value)) for option, value in (*kernel, *folders)]


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


def output_beside(option: str, output: Path, inputs: Iterable[Path]) -> Path:
    """The file that ``option`` names for output; it raises UsageError for one of ``inputs``."""
    place = files.output_file(output)
    for given in inputs:
        if files.is_same(place, given):
            raise UsageError(
                f"{option} names a FILE of this call, which it would replace",
                where=str(given),
                todo="name another file",
            )
    return place


def code_of(verdict: str) -> int:
    """The exit code of a command that proves, by its verdict."""
    codes = {"proven": DONE, "not-verified": DONE, "not-proven": FINDING, "not-judged": FINDING}
    return codes.get(verdict, VerificationError.exit_code)


def read_host(osversion: str | None, kernel: Path | None, *, said_by: str = "--osversion") -> Host:
    """Read the two options. Raises UsageError and what reading a kernel file raises.

    ``said_by`` is what messages call the place that the version was given in.
    """
    if osversion is None and kernel is None:
        return Host()
    # Imported here: most calls name no kernel.
    from kpatch.kernel.kernelfile import read_kernel
    from kpatch.kernel.versions import parse_osversion

    number = None if osversion is None else parse_osversion(osversion, said_by)
    if kernel is None:
        return Host(number, said_by=said_by)
    return Host(number, read_kernel(files.read(kernel), str(kernel)), said_by)


def each_file(
    command: str,
    paths: Iterable[Path],
    console: Console,
    action: Callable[[Path], tuple[list[FileEntry], int]],
    named: Collection[Path] | None = None,
) -> int:
    """Run ``action`` on every file and return the exit code: the highest of them all.

    ``action`` returns the file's documents and its exit code. An error of one file does not keep
    the others from their turn. With ``named``, the files that the user named: others were found
    in folders, and those that are nothing for kpatch are passed over, unless all of them are.
    """
    closing = Closing(as_json=console.json)
    passed_over = 0
    code = DONE
    for path in paths:
        try:
            found, exit_code = action(path)
        except OtherModuleError as error:
            error.within(str(path))
            is_named = named is None or path in named
            found = [_refusal(path, error, passed_over=not is_named)]
            exit_code = error.exit_code
            if is_named:
                console.complain(error)
            else:
                passed_over += 1
                exit_code = DONE
                if console.verbose:
                    console.say(f"passed over: {error}")
        except Exception as foreign:
            ours = boundary.ended(foreign, verbose=bool(console.verbose)).within(str(path))
            console.complain(ours)
            found, exit_code = [_refusal(path, ours)], ours.exit_code
        closing.add(found)
        code = max(code, exit_code)
    if passed_over and passed_over == closing.count:
        console.complain(_nothing_for_us(passed_over))
        code = OtherModuleError.exit_code
    if console.json:
        console.pieces(closing.document(command, code))
    elif closing.count > 1:
        console.say(f"{counted(closing.count, 'file')}: {closing.counted()}")
    return code


def _refusal(path: Path, error: KpatchError, *, passed_over: bool = False) -> Refused:
    from kpatch.report import documents

    return documents.refusal(str(path), error, passed_over=passed_over)


def _nothing_for_us(count: int) -> OtherModuleError:
    return OtherModuleError(
        f"the folders hold {counted(count, 'file')}, and no module for this",
        todo="-v says of each what it is",
    )
