"""In which order the explorations of a proof are made, and which of them one process makes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from kpatch.verify.explore.result import Answer
from kpatch.verify.proof.tasks import Bounds, Case, Explored, Task

_FEW_CPUS: Final = 4
"""At most so many have the explorations that come first."""


class TaskPlan(NamedTuple):
    """The tasks of a proof by number, and batches of those numbers, in the order of their start.

    Tasks on the same host are one batch: their world is built, booted and run through only once
    (:mod:`kpatch.verify.machine.runs`). ``early`` come first, ``late`` when all these are done:
    a patch that is wrong with few CPUs need not be explored to its end with many.
    """

    case: Case
    todo: tuple[Task, ...]
    bounds: Bounds
    early: tuple[tuple[int, ...], ...]
    late: tuple[tuple[int, ...], ...]

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
        early: list[tuple[int, ...]] = []
        late: list[tuple[int, ...]] = []
        for batch in batches:
            is_few = all(todo[number].obligation.cpus <= _FEW_CPUS for number in batch)
            (early if is_few else late).append(tuple(batch))
        return cls(case, tuple(todo), bounds, tuple(early), tuple(late))

    def bounds_in(
        self, batch: Sequence[int], done: Mapping[int, Explored], is_known: bool
    ) -> Bounds:
        """For the next one of ``batch``, where ``is_known`` is what other batches tell.

        Where one of the batch was too much to explore, the others of it are tried briefly.
        """
        undecided = any(number in done and done[number].is_undecided for number in batch)
        return replace(self.bounds, is_known=is_known or undecided)


def proves_nothing(done: Iterable[Explored]) -> bool:
    """Whether the verdict is known to be no proof, once the early ones are ``done``."""
    return any(
        explored.result.verdict is Answer.VIOLATED or explored.is_undecided
        for explored in done
        if explored.task.kind == "obligation"
    )


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
