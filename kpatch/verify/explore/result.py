"""What an exploration found: one document that every report reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kpatch.verify.explore.bound import Bound
from kpatch.verify.explore.options import Options
from kpatch.verify.explore.program import Local, Value

PROGRESS = "progress"  # the property that the explorer judges itself
DEADLOCK = "deadlock"
LIVELOCK = "livelock"
ABSENCE = "absent CPU"  # somebody waits for a CPU that need not come


class Answer(Enum):
    """The answer."""

    PROVEN = "proven"
    """Every reachable state was visited, and nothing is wrong in any."""
    VIOLATED = "violated"
    NOT_PROVEN = "not-proven"
    """No violation was found, and not every state was visited."""


@dataclass(frozen=True)
class Counterexample:
    """A violated property, and a schedule that shows it.

    ``fewest`` says that no schedule has fewer preemptions, and none with as few is shorter.
    Otherwise the search for it was cut short, and this is a shortest one of the first search.
    """

    prop: str
    what: str
    schedule: str
    preemptions: int
    fewest: bool


@dataclass(frozen=True)
class FinalState:
    """One way in which the program can end."""

    memory: tuple[Value, ...]
    locals: tuple[Local, ...]


@dataclass(frozen=True)
class Result:
    """The outcome of one exploration.

    ``merged`` counts transitions to a state that was known already. ``bound`` is the bound that
    ended the search, if one did. ``symmetry`` is on, off, or "broken: " and the reason; then
    the figures are those of the search without it. ``final_states`` counts canonical ones;
    ``finals`` lists them concretely, under every renaming that the symmetry allows, if the options
    asked for it. ``final_memories`` has every final memory, one for each class under renaming.
    """

    verdict: Answer
    cpus: int
    options: Options
    states: int
    transitions: int
    merged: int
    frontier: int
    final_states: int
    seconds: float
    bound: Bound | None
    symmetry: str
    counterexamples: tuple[Counterexample, ...]
    finals: frozenset[FinalState] = frozenset()
    final_memories: tuple[tuple[Value, ...], ...] = ()
