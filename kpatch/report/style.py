"""Colour, as marks that a terminal understands, or none at all."""

from __future__ import annotations

from typing import NamedTuple

_CODES = {"removed": 31, "added": 32, "hunk": 36, "title": 1, "bad": 31, "good": 32, "doubt": 33}


class Style(NamedTuple):
    """Paints words by what they mean. Without colour every text is exactly itself."""

    colour: bool = False

    def paint(self, meaning: str, text: str) -> str:
        """``text`` in the colour of ``meaning``."""
        if not self.colour or not text:
            return text
        return f"\x1b[{_CODES[meaning]}m{text}\x1b[0m"
