"""Stateful, exhaustive exploration of a concurrent program, under two memory models.

``explore(program, options)`` visits every interleaving and returns a :class:`Result`;
``replay(program, schedule, model)`` makes the moves of one schedule, one by one.
"""

from kpatch.verify.explore.explorer import explore
from kpatch.verify.explore.options import MemoryModel, Options, Progress
from kpatch.verify.explore.replay import Replayed, ReplayStep, replay
from kpatch.verify.explore.result import Answer, Counterexample, FinalState, Result
from kpatch.verify.explore.schedule import Move, MoveKind, Schedule, from_text, to_text

__all__ = [
    "Answer",
    "Counterexample",
    "FinalState",
    "MemoryModel",
    "Move",
    "MoveKind",
    "Options",
    "Progress",
    "ReplayStep",
    "Replayed",
    "Result",
    "Schedule",
    "explore",
    "from_text",
    "replay",
    "to_text",
]
