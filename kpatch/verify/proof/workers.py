"""Shares the explorations of a proof among processes: they have nothing to say to each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawValue
from types import FrameType
from typing import Any, Final, Protocol

from kpatch.errors import VerificationError
from kpatch.verify.explore import Progress
from kpatch.verify.proof.checks import Check
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.verdict import (
    Bounds,
    Case,
    Explored,
    Proof,
    Task,
    Window,
    measure_window,
    run_task,
    tasks,
)
from kpatch.verify.proof.whole_switch import run_checks

_EVERY: Final = 0.25
"""Seconds between two looks at what the processes report."""


@dataclass(frozen=True, slots=True)
class ProofProgress:
    """Where a running proof is: tasks done and all, and the last report of a running one."""

    done: int
    of: int
    task: str
    progress: Progress | None


ProofReport = Callable[[ProofProgress], None]


class Stop(Protocol):
    """A number that all processes share: not 0 once somebody interrupted."""

    value: int


def run_proof(
    case: Case,
    obligations: Sequence[Obligation],
    bounds: Bounds,
    *,
    jobs: int,
    report: ProofReport,
) -> Proof:
    """Run the controls and the obligations in ``jobs`` processes, and measure the window.

    An interrupt ends it early: the proof then says what is missing. One that comes too late for
    that is raised as KeyboardInterrupt. Raises VerificationError if a control cannot be made, a
    counterexample does not replay or a process dies, and what setting up the machine raises.
    """
    started = time.monotonic()
    todo = tasks(case, obligations)
    alone = jobs == 1 or len(todo) <= 1
    stop: Stop = RawValue("b", 0)
    work = _one_by_one(case, todo, bounds, report, stop) if alone else _shared(
        case, todo, bounds, jobs, report, stop
    )  # fmt: skip
    done: dict[int, Explored] = {}
    window: Window | None = None
    checks: tuple[Check, ...] = ()
    with contextlib.suppress(KeyboardInterrupt), _interrupts_noted(stop):
        for index, explored in work:
            done[index] = explored
        if case.is_patched and len(done) == len(todo) and not stop.value:
            window = measure_window(case)
            checks = run_checks(case)
    complete = len(done) == len(todo) and all(
        each.result.bound != "interrupted" for each in done.values()
    )
    if stop.value and complete:
        raise KeyboardInterrupt
    return Proof(
        case=case,
        bounds=bounds,
        explored=tuple(done[index] for index in sorted(done)),
        window=window,
        checks=checks,
        seconds=time.monotonic() - started,
        missing=tuple(task for index, task in enumerate(todo) if index not in done),
    )


def _one_by_one(
    case: Case,
    todo: Sequence[Task],
    bounds: Bounds,
    report: ProofReport,
    stop: Stop,
    done: Container[int] = frozenset(),
) -> Iterator[tuple[int, Explored]]:
    for index, task in enumerate(todo):
        if stop.value:
            return
        if index in done:
            continue

        def tell(progress: Progress, index: int = index, task: Task = task) -> None:
            report(ProofProgress(index, len(todo), task.name, progress))
            if stop.value:
                raise KeyboardInterrupt

        report(ProofProgress(index, len(todo), task.name, None))
        yield index, run_task(case, task, bounds, tell)


def _shared(
    case: Case, todo: Sequence[Task], bounds: Bounds, jobs: int, report: ProofReport, stop: Stop
) -> Iterator[tuple[int, Explored]]:
    try:
        pool, futures, reports = _start(case, todo, bounds, jobs, stop)
    except (OSError, RuntimeError):  # no process, descriptor or thread to be had: do without
        yield from _one_by_one(case, todo, bounds, report, stop)
        return
    waiting: set[Future[Explored]] = set(futures)
    done: set[int] = set()
    try:
        while waiting:
            if stop.value:
                # What runs ends by itself and says what it covered.
                waiting = {each for each in waiting if not each.cancel()}
            finished, waiting = wait(waiting, _EVERY, FIRST_COMPLETED)
            for each in finished:
                yield futures[each], each.result()
                done.add(futures[each])
            _tell(reports, len(todo) - len(waiting), len(todo), report)
        pool.shutdown()
        return
    except BaseException as error:
        _give_up(pool)
        if isinstance(error, BrokenProcessPool):
            raise VerificationError(
                "a process of the proof died", todo="make room in memory, or use --jobs 1"
            ) from error
        if not isinstance(error, OSError):
            raise
    # A process could not have what it needs: what is left is done here, one by one.
    del pool, futures, reports, waiting
    yield from _one_by_one(case, todo, bounds, report, stop, done)


def _start(
    case: Case, todo: Sequence[Task], bounds: Bounds, jobs: int, stop: Stop
) -> tuple[ProcessPoolExecutor, dict[Future[Explored], int], Any]:
    """The processes at work. Raises OSError or RuntimeError where not all of them can be had."""
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(case, bounds, reports, stop)
    )
    try:
        # The largest first: a long one that starts last would leave the other processes idle.
        order = sorted(range(len(todo)), key=lambda index: _cost(todo[index]))
        return pool, {pool.submit(_run, todo[index]): index for index in order}, reports
    except BaseException:
        _give_up(pool)
        raise


def _give_up(pool: ProcessPoolExecutor) -> None:
    """End the processes; wait for none of them."""
    for process in multiprocessing.active_children():
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_noted(stop: Stop) -> Iterator[None]:
    """Within it the first interrupt sets ``stop``; a second one interrupts as usual.

    An exception at any place would not do: in a callback of the emulator ctypes swallows it.
    Somebody else's handler stays, and so does the shell's order to ignore interrupts.
    """
    before = signal.getsignal(signal.SIGINT)
    if (
        before is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.value = 1
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cost(task: Task) -> tuple[bool, int, str]:
    return task.kind != "control", -task.obligation.cpus, task.name


def _tell(reports: Any, done: int, of: int, report: ProofReport) -> None:
    last: tuple[str, Progress] | None = None
    while not reports.empty():
        last = reports.get()
    report(ProofProgress(done, of, last[0] if last else "", last[1] if last else None))


_MINE: dict[str, Any] = {}
"""What a worker was given when it began."""


def _begin(case: Case, bounds: Bounds, reports: Any, stop: Stop) -> None:
    _MINE.update(case=case, bounds=bounds, reports=reports, stop=stop)
    # An interrupt on the terminal goes to every process; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker has no reason to live on when the first one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Task) -> Explored:
    def tell(progress: Progress) -> None:
        _MINE["reports"].put((task.name, progress))
        if _MINE["stop"].value:
            raise KeyboardInterrupt

    return run_task(_MINE["case"], task, _MINE["bounds"], tell)
