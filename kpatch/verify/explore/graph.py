"""What a search has visited: states by number, the moves between them, and what it found."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from kpatch.verify.explore.bound import Bound
from kpatch.verify.explore.counted import StateKey
from kpatch.verify.explore.steps import Effect


@dataclass(frozen=True)
class Finding:
    """The first place where a property was seen violated.

    In the state with number ``index``, by its move ``effect``; without one, in the state itself.
    """

    prop: str
    what: str
    index: int
    effect: Effect | None


@dataclass
class Graph:
    """What was visited. States have numbers, in the order in which they were found."""

    states: list[StateKey] = field(default_factory=list)
    parents: array[int] = field(default_factory=lambda: array("q"))
    # The move number i leads from sources[i] to targets[i]; changes[i]: it changes what others see.
    sources: array[int] = field(default_factory=lambda: array("q"))
    targets: array[int] = field(default_factory=lambda: array("q"))
    changes: bytearray = field(default_factory=bytearray)
    movers: array[int] = field(default_factory=lambda: array("l"))  # the shape that moves
    # ends[i]: ENDS where it comes to the end of a round, STAYS where it stays between two.
    ends: bytearray = field(default_factory=bytearray)
    expanded: int = 0
    finals: list[int] = field(default_factory=list)
    faults: set[int] = field(default_factory=set)
    findings: dict[str, Finding] = field(default_factory=dict)
    bound: Bound | None = None
    held_up: bool = False  # some CPU could not store, because its buffer was full

    @property
    def frontier(self) -> int:
        """States found but not expanded."""
        return len(self.states) - self.expanded
