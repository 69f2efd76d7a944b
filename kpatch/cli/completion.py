"""What a shell completes beside commands, options and files: scenarios, and words to explain."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_TYPED: Final = re.compile(r"[\w./-]+")
"""What a shell takes as one word as it stands."""


def scenarios(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of scenarios."""
    # Imported here: they are defined beside the emulator.
    from kpatch.verify.machine.scenarios import SCENARIOS

    return _beginning(incomplete, (scenario.name for scenario in SCENARIOS))


def files_or_terms(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What ``kpatch explain`` takes: files where one begins so, else terms and pages."""
    # Imported here: only a shell that completes needs them.
    from click.shell_completion import CompletionItem

    from kpatch.cli.terms import to_choose_from

    files = [CompletionItem(incomplete, type="file")]
    if _begins_a_file(incomplete):
        return files
    words = (word for word in to_choose_from() if _TYPED.fullmatch(word))
    return _beginning(incomplete.lower(), words) or files


def _begins_a_file(incomplete: str) -> bool:
    folder, _, beginning = incomplete.rpartition("/")
    place = f"{folder}/" if "/" in incomplete else "."
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        return any(entry.name.startswith(beginning) for entry in entries)
    return False


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
