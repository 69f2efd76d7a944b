"""A number and what it counts agree: ``1 state``, ``2 states``. One function writes them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import kpatch
from tests.test_layering import MODULES

TEMPLATES = sorted((Path(kpatch.__file__).parent / "report" / "page").glob("*.html"))


def is_plain(shown: ast.expr) -> bool:
    """Is it a number that may be one? A limit is not, and one in hexadecimal is an address."""
    if not isinstance(shown, ast.FormattedValue) or shown.format_spec is not None:
        return False
    name = ast.unparse(shown.value).rpartition(".")[2].lstrip("_")
    return not name.isupper() and not name.startswith("counted(")


def written_without(text: str, plural: re.Pattern[str]) -> Iterator[str]:
    """The numbers before a plural in the f-strings of a module that ``counted`` does not write."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            for shown, behind in zip(node.values, node.values[1:], strict=False):
                found = plural.match(text_of(behind))
                if found and is_plain(shown):
                    yield f"{ast.unparse(shown)}{found[0]}"


def text_of(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else ""


def test_every_number_that_may_be_one_is_written_by_one_function() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in MODULES}
    counts = re.compile(r"\bcounted\([^\n]*?, [\"']([a-zA-Z]+)[\"']\)")
    nouns = sorted({noun for text in texts.values() for noun in counts.findall(text)})
    assert {"CPU", "byte", "state"} <= set(nouns)
    assert len(nouns) > 15
    plural = re.compile(rf" (?:{'|'.join(nouns)})s\b")
    # Only what looks like one is taken apart: that takes a while.
    doubtful = {
        name: text for name, text in texts.items() if re.search(rf"}}{plural.pattern}", text)
    }
    wrong = {name: list(written_without(text, plural)) for name, text in doubtful.items()}
    assert doubtful
    assert not any(wrong.values()), wrong


def test_a_page_counts_by_the_same_function() -> None:
    assert TEMPLATES
    nouns = r"\}\} (?:byte|CPU|exploration|preemption|state|time|transition)s?\b"
    for template in TEMPLATES:
        assert not re.findall(nouns, template.read_text(encoding="utf-8"))
