"""``kpatch schema``: the JSON Schema of everything that ``--json`` prints."""

from __future__ import annotations

from importlib import resources

import click

from kpatch.errors import DONE


@click.command("schema")
def command() -> int:
    """Print the JSON Schema (draft 2020-12) of what every command prints with --json.

    A document names the version that it follows in "schema". 'kpatch explain docs/json.md' says
    what the words mean.
    """
    path = resources.files("kpatch.report") / "schema.json"
    click.echo(path.read_text(encoding="utf-8"), nl=False)
    return DONE
