"""What to explore, how far, and who is told about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kpatch.verify.explore.bound import BoundHitError, BoundKind


class MemoryModel(Enum):
    """How stores reach the other CPUs."""

    SC = "sc"
    """Sequential consistency: at once. What loads and stores but is not locked does one after the
    other (SDM vol. 3, 8.1.2.2): its store is a move of its own, like that of a store buffer."""
    TSO = "tso"
    """x86-TSO: through a FIFO store buffer per CPU, which its own loads look into first (Sewell,
    Sarkar, Owens, Zappa Nardelli, Myreen: x86-TSO, CACM 53(7), 2010)."""


@dataclass(frozen=True)
class Progress:
    """Where a running exploration is."""

    states: int
    transitions: int
    frontier: int
    seconds: float


@dataclass(frozen=True)
class Options:
    """The memory model, the reductions, the bounds.

    ``por``: local steps are made at once (:mod:`~kpatch.verify.explore.steps`). ``spins``: a CPU
    that waits is kept at one place of its loop (:mod:`~kpatch.verify.explore.spin_loops`).
    ``symmetry``: CPUs are interchangeable (:mod:`~kpatch.verify.explore.symmetry`).
    ``absent``: CPUs may stay away, or not come back (:mod:`~kpatch.verify.explore.progress`).
    ``beyond_faults`` goes on where a CPU has faulted: what the others violate then, it may have
    hidden. ``buffer_entries`` bounds a store buffer; a program that would exceed it is not proven.
    ``beyond_violation`` is how many states are looked into after the first violation; None for all
    of them: another property may be violated, too. ``known_elsewhere`` is how many are looked into
    at most where the verdict is known by another exploration. ``keep_finals`` lists every final
    state in the result, for comparisons of small programs. ``shortest_states`` bounds the second
    search, the one for the counterexample with the fewest preemptions.
    """

    model: MemoryModel = MemoryModel.SC
    por: bool = True
    spins: bool = True
    symmetry: bool = True
    absent: bool = False
    beyond_faults: bool = False
    max_states: int = 2_000_000
    max_seconds: float = float("inf")
    buffer_entries: int = 16
    beyond_violation: int | None = None
    known_elsewhere: int | None = None
    keep_finals: bool = False
    shortest_states: int = 20_000


class Budget:
    """The clock of one exploration."""

    def __init__(self, max_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._max_seconds = max_seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def check(self) -> None:
        """Raises BoundHitError when the time is over."""
        if self.seconds > self._max_seconds:
            raise BoundHitError(BoundKind.SECONDS, f"max-seconds {self._max_seconds:g}")
