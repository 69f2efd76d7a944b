"""The real command line of the hook over a workshop of play modules.

A play module is one word, its standing; a repair writes another word. So the makefiles are tested
fast, and each way to fail can be had by asking: ``FAKE_FAIL`` names the methods that fail.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from kpatch.cli.hook import BuildSettings, make_command
from kpatch.errors import KpatchError, UnknownModuleError, VerificationError
from kpatch.ports.build import Examined, Shown, Standing

REASONS = {
    Standing.AFFECTED: "it loads the task register from a shared table",
    Standing.REPAIRED: "signature play",
    Standing.NOT_AFFECTED: "an i386 module",
    Standing.SOUND_SOURCE_FIX: "it has source fix C",
    Standing.UNSOUND_SOURCE_FIX: "it has source fix A, which races",
}


class PlayWorkshop:
    """Repairs words in files."""

    def __init__(self, settings: BuildSettings, failing: frozenset[str]) -> None:
        self.settings = settings
        self.failing = failing

    def examine(self, path: Path) -> Examined:
        """The standing that the file spells."""
        word = path.read_text().strip()
        for standing in Standing:
            if standing.value == word:
                return Examined(standing, REASONS[standing])
        raise UnknownModuleError("not a module that kpatch knows", where=str(path))

    def apply(self, path: Path) -> None:
        """Write the repaired word, unless told to fail or to lie."""
        if "apply" in self.failing:
            raise VerificationError("the play repair was told to fail", where=str(path))
        if "silently" not in self.failing:
            path.write_text(Standing.REPAIRED.value + "\n")

    def verify(self, path: Path) -> Shown:
        """Say the kernel, so that tests can see what came through."""
        if "verify" in self.failing:
            raise VerificationError("the play proof was told to fail", where=str(path))
        if self.settings.proving is None:
            return Shown("NOT VERIFIED (--no-verify)")
        return Shown(f"proven for {self.settings.host.osversion}")


def main() -> None:
    """Run it with the exit codes of kpatch."""
    failing = frozenset(os.environ.get("FAKE_FAIL", "").split())
    command = click.Group(
        commands={"hook": make_command(lambda settings: PlayWorkshop(settings, failing))}
    )
    try:
        code = command.main(standalone_mode=False)
    except KpatchError as error:
        click.echo(f"kpatch: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code)


if __name__ == "__main__":
    main()
