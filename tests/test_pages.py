"""The pages: every command line in them runs, and what they show is what it prints today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
_AMOUNT = re.compile(r"\b\d+(?=\s+(?:explorations|states|transitions|local instructions)|\.$)")


def _regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "regenerate", ROOT / "docs" / "tools" / "regenerate.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(text: str) -> str:
    """The words, however they are folded, without amounts that a better search changes."""
    return _AMOUNT.sub("N", " ".join(text.split()))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.name))
def test_a_page_shows_what_the_program_prints(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert plain(_regenerate().page(text)) == plain(text), "run 'make docs'"


def test_the_manual_has_every_option_as_the_command_line_has_it() -> None:
    module = _regenerate()
    text = module.MANUAL.read_text(encoding="utf-8")
    assert module.manual(text) == text, "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.name))
def test_every_page_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).exists(), name
