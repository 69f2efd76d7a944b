"""Where a search ends early, and who said so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class BoundKind(Enum):
    """What was not to be exceeded."""

    STATES = auto()
    SECONDS = auto()
    BEYOND_VIOLATION = auto()
    BUFFER_ENTRIES = auto()
    SHORTEST = auto()
    """States of the second search, for the counterexample with the fewest preemptions."""
    STARTS = auto()
    """Ways in which a round leaves the patch's memory."""
    NOT_FOLLOWED = auto()
    """Code that a CPU came to, and that the check of the inputs did not."""
    INTERRUPTED = auto()


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound that was reached; ``text`` is how reports write it, as ``max-states 200000``."""

    kind: BoundKind
    text: str

    def __str__(self) -> str:
        return self.text


INTERRUPTED = Bound(BoundKind.INTERRUPTED, "interrupted")
"""The bound that a person sets by Ctrl-C."""


class BoundHitError(Exception):
    """A bound was reached. Never leaves this package."""

    def __init__(self, kind: BoundKind, text: str) -> None:
        super().__init__(text)
        self.bound = Bound(kind, text)
