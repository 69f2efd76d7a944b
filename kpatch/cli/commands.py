"""Finds the command, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import Final

import click

from kpatch import __version__
from kpatch.cli import boundary
from kpatch.errors import DONE, FileAccessError, KpatchError, UsageError
from kpatch.report.printable import printable

_COMPLETE: Final = "_KPATCH_COMPLETE"
"""Set by the shell scripts that click gives; its value says what the shell wants."""

COMMANDS: Final = {
    "scan": "Say what a file is, and whether it is affected.",
    "apply": "Repair a module, prove the repair, replace the file.",
    "diff": "Show what a patch changes, or what two modules differ in.",
    "verify": "Explore every interleaving of a module's world switch.",
    "report": "Write a page that shows the patch, the bug and the proof.",
    "demo": "Show the panic of 2008 on this module, and that it is gone.",
    "revert": "Give back the original, byte for byte.",
    "explain": "Say what the bug is on a file, or what a word means.",
    "schema": "Print the JSON Schema of the documents.",
    "lint-signatures": "Check signature files of your own.",
    "hook": "Put the repair into ports builds.",
}

EXIT_CODES: Final = {
    "0": "done",
    "1": "a finding: affected, not proven, different",
    "2": "the command line does not fit together",
    "10": "not an ELF file, or a damaged one",
    "11": "not a module that kpatch knows; for revert, one that is not patched",
    "12": "a place to patch matches nowhere, more than once, or may not be patched",
    "13": "not affected: nothing to repair",
    "14": "already fixed by source",
    "15": "the kernel is unknown, or the evidence contradicts itself",
    "16": "the kernel linker would refuse the module",
    "17": "the verification failed",
    "18": "a file could not be read or written, or the machine refused something",
    "70": "a bug of kpatch",
    "130": "interrupted",
}


class _Commands(click.Group):
    """Imports a command when it is called: scan need not pay for what verify imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"kpatch.cli.{cmd_name.replace('-', '_')}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-"):
            raise _no_command(name, args[1:])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        with formatter.section("Exit codes, the highest where there are several files"):
            formatter.write_dl(list(EXIT_CODES.items()))


def _no_command(name: str, rest: list[str]) -> UsageError:
    """What to say of a word that stands where a command has to: a file, or one that is mistyped."""
    if Path(name).is_file():
        # Imported here, as below: only a mistake needs it.
        from kpatch.report.command_line import command_line

        todo = f"to see what it is: {command_line('scan', name)}"
        return UsageError("a file stands where a command has to", where=name, todo=todo)
    what = f"no such command '{name}'"
    if name in ("help", "version"):
        about = f"{rest[0]} " if name == "help" and rest and rest[0] in COMMANDS else ""
        return UsageError(what, todo=f"see 'kpatch {about}--{name}'")
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, 3, 0.5)
    todo = f"did you mean {' or '.join(near)}?" if near else "see 'kpatch --help'"
    return UsageError(what, todo=todo)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kpatch", message="%(prog)s %(version)s")
def group() -> None:
    """Repair a compiled kqemu.ko, and prove the repair.

    'kpatch COMMAND --help' shows the options of a command.
    """


def answer(argv: list[str]) -> int:
    """Run kpatch and return its exit code. Only KeyboardInterrupt leaves it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file may have any name, and a terminal any encoding.
            stream.reconfigure(errors="backslashreplace")
    try:
        asked = os.environ.get(_COMPLETE)
        code = _answered(argv) if asked is None else _completed(asked)
        boundary.flush()
    except OSError as error:
        return boundary.output_lost(error)
    return code


def _completed(instruction: str) -> int:
    """Answer a shell that completes a command line, or give it the script that asks."""
    from click.shell_completion import FishComplete, add_completion_class, shell_complete

    class WholeHelp(FishComplete):
        """Click's script drops what stands behind the second comma, and a help has commas too."""

        source_template = FishComplete.source_template.replace(
            'string split ","', 'string split --max 1 ","'
        )

    add_completion_class(WholeHelp)
    return shell_complete(group, {}, "kpatch", _COMPLETE, instruction)


def _answered(argv: list[str]) -> int:
    try:
        if sys.stdout is None:
            raise FileAccessError(
                "standard output is closed", todo="send it to /dev/null to do without"
            )
        return _called(argv or ["--help"])
    except Exception as error:
        is_verbose = bool({"-v", "-vv", "--verbose"} & set(argv))
        return _refuse(boundary.ended(error, verbose=is_verbose), argv)


def _called(argv: list[str]) -> int:
    """Run the command. Its mistakes in usage become errors of our tree."""
    try:
        # A copy: click takes out of the list what it has read, and a refusal looks into it again.
        with group.make_context("kpatch", list(argv)) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        raise _in_our_words(error, argv) from error
    return code if isinstance(code, int) else DONE


def _in_our_words(error: click.UsageError, argv: list[str]) -> UsageError:
    """What click says of a wrong call, as our own errors are said, with what may be meant."""
    # Some releases of click put what may be meant into the message, some beside it.
    what, _, meant = error.format_message().rstrip(".").partition(". Did you mean ")
    todo = f"see '{error.ctx.command_path if error.ctx else 'kpatch'} --help'"
    if isinstance(error, click.NoSuchOption):
        what = f"no such option '{error.option_name}'"
        meant = " or ".join(sorted(error.possibilities or ()))
        if place := _right_place(error.option_name, argv):
            meant, todo = "", place
    if meant:
        todo = f"did you mean {meant.rstrip('?').replace(chr(39), '')}?"
    return UsageError(f"{what[:1].lower()}{what[1:]}", todo=todo)


def _right_place(option: str, argv: list[str]) -> str:
    """What to write where ``option`` is a file's name, or stands before the command; or nothing."""
    file = next((word for word in argv if word.startswith(option) and os.path.lexists(word)), "")
    if file:
        return f"write ./{file} for the file of that name"
    command = next((word for word in argv if word in COMMANDS), "")
    if command and option in argv[: argv.index(command)]:
        return f"options go behind the command: kpatch {command} {option}"
    return ""


def _refuse(error: KpatchError, argv: list[str]) -> int:
    options = argv[: argv.index("--")] if "--" in argv else argv
    if "--json" in options and sys.stdout is not None:
        # Imported here: a scan that goes well needs neither.
        import json

        from kpatch.report import documents
        from kpatch.report.typed import Beside

        command = next((word for word in argv if word in COMMANDS), "")
        beside: Beside = {"error": documents.failure(error)}
        document = documents.envelope(command, [], error.exit_code, beside)
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    elif sys.stderr is not None and sys.stderr.isatty():
        # Imported here: what went wrong may be that files cannot be read any more.
        from kpatch.cli.console import warn

        warn(f"kpatch: {error}")
    else:
        click.echo(f"kpatch: {printable(str(error))}", err=True)
    return error.exit_code
