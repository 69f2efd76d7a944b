"""Shares the explorations of a proof among processes: they have nothing to say to each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Final

from kpatch.verify.explore import Progress
from kpatch.verify.obligations import Obligation
from kpatch.verify.proof import (
    Bounds,
    Case,
    Explored,
    Proof,
    Task,
    measure_window,
    run_task,
    tasks,
)

_EVERY: Final = 0.25
"""Seconds between two looks at what the processes report."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a running proof is: tasks done and all, and the last report of a running one."""

    done: int
    of: int
    task: str
    progress: Progress | None


Report = Callable[[Standing], None]


def prove(
    case: Case,
    obligations: Sequence[Obligation],
    bounds: Bounds,
    *,
    jobs: int,
    report: Report,
) -> Proof:
    """Run the controls and the obligations in ``jobs`` processes, and measure the window.

    An interrupt ends it early: the proof then says what is missing. Raises VerificationError if
    a control cannot be made or a counterexample does not replay, and what setting up the machine
    raises.
    """
    started = time.monotonic()
    todo = tasks(case, obligations)
    alone = jobs == 1 or len(todo) == 1
    work = _one_by_one(case, todo, bounds, report) if alone else _shared(
        case, todo, bounds, jobs, report
    )  # fmt: skip
    done: dict[int, Explored] = {}
    with contextlib.suppress(KeyboardInterrupt):
        for index, explored in work:
            done[index] = explored
    window = measure_window(case) if case.is_patched and len(done) == len(todo) else None
    return Proof(
        case=case,
        bounds=bounds,
        explored=tuple(done[index] for index in sorted(done)),
        window=window,
        seconds=time.monotonic() - started,
        missing=tuple(task for index, task in enumerate(todo) if index not in done),
    )


def _one_by_one(
    case: Case, todo: Sequence[Task], bounds: Bounds, report: Report
) -> Iterator[tuple[int, Explored]]:
    for index, task in enumerate(todo):

        def tell(progress: Progress, index: int = index, task: Task = task) -> None:
            report(Standing(index, len(todo), task.name, progress))

        report(Standing(index, len(todo), task.name, None))
        explored = run_task(case, task, bounds, tell)
        yield index, explored
        if explored.result.bound == "interrupted":
            raise KeyboardInterrupt


def _shared(
    case: Case, todo: Sequence[Task], bounds: Bounds, jobs: int, report: Report
) -> Iterator[tuple[int, Explored]]:
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    reports = context.SimpleQueue()
    # The largest first: a long one that starts last would leave the other processes idle.
    order = sorted(range(len(todo)), key=lambda index: _cost(todo[index]))
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(case, bounds, reports)
    ) as pool:
        futures = {pool.submit(_run, todo[index]): index for index in order}
        waiting: set[Future[Explored]] = set(futures)
        try:
            while waiting:
                finished, waiting = wait(waiting, _EVERY, FIRST_COMPLETED)
                yield from ((futures[each], each.result()) for each in finished)
                _tell(reports, len(todo) - len(waiting), len(todo), report)
        except KeyboardInterrupt:
            yield from _after_interrupt(pool, futures, waiting)
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _after_interrupt(
    pool: ProcessPoolExecutor, futures: dict[Future[Explored], int], waiting: set[Future[Explored]]
) -> Iterator[tuple[int, Explored]]:
    """What the running explorations covered: each ends at an interrupt and says so."""
    for each in waiting:
        each.cancel()
    for process in multiprocessing.active_children():
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    for each in waiting:
        if not each.cancelled():
            with contextlib.suppress(KeyboardInterrupt, BrokenProcessPool):
                yield futures[each], each.result()


def _cost(task: Task) -> tuple[bool, int, str]:
    return task.kind != "control", -task.obligation.cpus, task.name


def _tell(reports: Any, done: int, of: int, report: Report) -> None:
    last: tuple[str, Progress] | None = None
    while not reports.empty():
        last = reports.get()
    report(Standing(done, of, last[0] if last else "", last[1] if last else None))


_MINE: dict[str, Any] = {}
"""What a process of the crew was given when it began."""


def _begin(case: Case, bounds: Bounds, reports: Any) -> None:
    _MINE.update(case=case, bounds=bounds, reports=reports)


def _run(task: Task) -> Explored:
    reports = _MINE["reports"]
    return run_task(
        _MINE["case"],
        task,
        _MINE["bounds"],
        lambda progress: reports.put((task.name, progress)),
    )
