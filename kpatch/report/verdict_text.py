"""A verdict as text: the line that every report of a file begins with, and its colour."""

from __future__ import annotations

from typing import Final

from kpatch.report.printable import printable
from kpatch.report.style import Style

MEANING: Final = {
    "affected": "bad",
    "patched-then-changed": "bad",
    "patched": "good",
    "patched-then-stripped": "good",
    "not-affected": "good",
    "fixed-by-source": "doubt",
    "unknown-build": "doubt",
    "not-kqemu": "title",
    "proven": "good",
    "violated": "bad",
    "not-proven": "doubt",
    "not-judged": "doubt",
    "withheld": "doubt",
}
"""What a style calls the colour of each verdict of ``scan`` and ``verify``."""


def verdict_line(file: str, verdict: str, style: Style) -> str:
    """The file and its verdict: all that ``-q`` leaves."""
    return f"{printable(file)}: {style.paint(MEANING[verdict], verdict.upper())}"
