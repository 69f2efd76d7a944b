"""The manual page: well-formed, and complete."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import click
import pytest

from kpatch.cli import commands as entry

PAGE = Path(__file__).resolve().parent.parent / "docs/kpatch.1"
COMMANDS = entry.group.list_commands(click.Context(entry.group))


def test_mandoc_has_nothing_to_warn_of() -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", str(PAGE)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_on_the_page(name: str) -> None:
    module = importlib.import_module(f"kpatch.cli.{name.replace('-', '_')}")
    command: click.Command = module.command
    page = PAGE.read_text(encoding="utf-8")
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("-"):
                assert re.search(rf"(Fl|,|\|) {re.escape(option[1:])}\b", page), option


def test_every_command_and_exit_code_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f".It Cm {name}\n" in page
    for code in entry.EXIT_CODES:
        assert f".It {code}\n" in page
