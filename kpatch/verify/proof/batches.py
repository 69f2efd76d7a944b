"""In which order the explorations of a proof are made, and which of them one process makes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from kpatch.verify.proof.tasks import Bounds, Case, Task


class TaskPlan(NamedTuple):
    """The tasks of a proof by number, and batches of those numbers, in the order of their start.

    Tasks on the same host are one batch: their world is built, booted and run through only once
    (:mod:`kpatch.verify.machine.runs`).
    """

    case: Case
    todo: tuple[Task, ...]
    bounds: Bounds
    batches: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, case: Case, todo: Sequence[Task], bounds: Bounds) -> TaskPlan:
        """The plan for these tasks. Raises what setting up the machine raises."""
        together: dict[Hashable, list[int]] = {}
        for number, task in enumerate(todo):
            together.setdefault(_place(case, task, bounds), []).append(number)
        # Controls first: without them the rest is worth nothing. Then the largest: a long one that
        # starts last would leave the other processes idle.
        batches = sorted(
            together.values(), key=lambda batch: _cost([todo[number] for number in batch])
        )
        return cls(case, tuple(todo), bounds, tuple(map(tuple, batches)))


def _place(case: Case, task: Task, bounds: Bounds) -> Hashable:
    """Where a task runs: the module, the host, and what is done to the machine."""
    place = case.setup(task.module, task.obligation, bounds).place
    return id(task.module), task.locks, place


def _cost(batch: Sequence[Task]) -> tuple[bool, int, bool, str]:
    obligations = [task.obligation for task in batch]
    moves = any(obligation.scenario.moves for obligation in obligations)
    control = any(task.kind == "control" for task in batch)
    most = max(obligation.cpus for obligation in obligations)
    return not control, -most, not moves, batch[0].name
