"""Stateful, exhaustive exploration of a concurrent program, under two memory models.

``explore(program, options)`` visits every interleaving and returns a :class:`Result`;
``replay(program, schedule, model)`` makes the moves of one schedule, one by one.

The words, in the order in which the files build on each other:

- *step*: what a CPU does from one visible operation to the next (``program``).
- *orbit*, *family*: local states, or values, that are one up to the numbers of the CPUs that they
  name; the table of its members is the family (``naming``, ``symmetry``).
- *shape*: an orbit of a CPU's local states together with its store buffer (``shapes``).
- *move*: a step, a store that drains, a guest that is taken; *effect*: what it does (``steps``).
- *canonical form*: the one state that is kept of all that renaming the CPUs makes alike
  (``canonical``).
- *spin loop*: silent steps that end where they began while the memory stays; *normal form*: the
  one place of it where a CPU is kept; *twins*: bisimilar places (``spin_loops``).
- *entry*, *outside*: the start of a round, and a CPU between two of them (``progress``).
- *frontier*: states found and not yet expanded; *finding*: the first violation of a property in
  the search (``search``); *counterexample*: the shortest schedule to it (``shortest``).
- *answer*: proven, violated, or not proven because a bound was hit (``result``).
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
