"""The entry point: finds the command, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from kpatch import __version__
from kpatch.errors import FileAccessError, KpatchError, UsageError

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it

_COMMANDS: Final = {
    "scan": "Say what a file is, and whether it is affected.",
    "apply": "Repair a module, prove the repair, replace the file.",
    "diff": "Show what a patch changes, or what two modules differ in.",
    "verify": "Explore every interleaving of a module's world switch.",
    "revert": "Give back the original, byte for byte.",
    "hook": "Put the repair into ports builds.",
}


class _Commands(click.Group):
    """Imports a command when it is called: scan need not pay for what verify imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"kpatch.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kpatch", message="%(prog)s %(version)s")
def group() -> None:
    """Repair a compiled kqemu.ko, and prove the repair.

    Exit codes: 0 done, 1 finding, 2 usage, 10 not ELF or damaged, 11 not a module this tool
    knows, 12 no or several matches, 13 not affected, 14 already fixed by source, 15 kernel
    unknown, 16 kernel linker would refuse it, 17 verification failed, 18 input or output.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run kpatch and exit with its code."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Run kpatch and return its exit code. No exception leaves it."""
    try:
        code = group.main(argv, prog_name="kpatch", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        context = f"kpatch {error.ctx.info_name}" if error.ctx and error.ctx.parent else "kpatch"
        return _refuse(UsageError(error.format_message(), todo=f"see '{context} --help'"), argv)
    except click.ClickException as error:
        return _refuse(FileAccessError(error.format_message()), argv)
    except KpatchError as error:
        return _refuse(error, argv)
    except (KeyboardInterrupt, click.Abort):
        click.echo("kpatch: interrupted; no file was changed half-way", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FileAccessError.exit_code
    except OSError as error:
        return _refuse(
            FileAccessError(
                f"cannot write the output: {error.strerror}", todo="make room on the disk"
            ),
            [],
        )


def _refuse(error: KpatchError, argv: list[str]) -> int:
    if "--json" in argv:
        document = {
            "kpatch": __version__,
            "command": next((each for each in argv if each in _COMMANDS), ""),
            "exit_code": error.exit_code,
            "error": error.to_document(),
            "files": [],
        }
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    else:
        click.echo(f"kpatch: {error}", err=True)
    return error.exit_code


if __name__ == "__main__":
    main()
