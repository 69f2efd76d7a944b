"""What the options of ``kpatch verify`` ask for, as they were written."""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """The options that say what is explored, and how far."""

    scenarios: tuple[str, ...]
    cpus: str | None
    model: str | None
    tr_selector: str | None
    max_states: int
    max_seconds: float | None
    por: bool
    symmetry: bool
    every_instruction: bool
    replay: str | None
