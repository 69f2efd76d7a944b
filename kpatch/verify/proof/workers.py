"""Shares the explorations of a proof among processes: they have nothing to say to each other."""

from __future__ import annotations

import contextlib
import gc
import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from kpatch.errors import MachineError
from kpatch.verify.explore import Counterexample, Progress, Result
from kpatch.verify.explore.bound import INTERRUPTED
from kpatch.verify.proof.batches import TaskPlan, proves_nothing
from kpatch.verify.proof.lanes import Lanes
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Bounds, Case, Explored, Task, run_task, tasks
from kpatch.verify.proof.verdict import Proof
from kpatch.verify.proof.whole_switch import Whole, whole_switch

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
Found = tuple[int, Explored | Whole]
ExploredParts = tuple[Result, tuple[tuple[Counterexample, Lanes], ...], bool]
"""What was explored, without its task."""
PendingBatch = Future[list[tuple[int, "ExploredParts | Whole"]]]

WHOLE: Final = -1
"""The number of the task that looks at the whole switch."""


class Stop:
    """What all processes share: whether somebody interrupted.

    In memory without a name: a shared value of multiprocessing's needs a folder for its file, which
    may not be had, and where there is no /dev/shm it leaves that behind.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def __bool__(self) -> bool:
        return self._shared[0] != 0

    def set(self) -> None:
        """From now on it is true, in every process."""
        self._shared[0] = 1


def run_proof(
    case: Case,
    obligations: Sequence[Obligation],
    bounds: Bounds,
    *,
    jobs: int,
    report: ProofReport,
) -> Proof:
    """Run the controls and the obligations in ``jobs`` processes, and check the whole switch.

    An interrupt ends it early: the proof then says what is missing. One that comes too late for
    that is raised as KeyboardInterrupt. Raises VerificationError if a control cannot be made or a
    counterexample does not replay, MachineError if a process dies, and what setting up the machine
    raises.
    """
    started = time.monotonic()
    plan = TaskPlan.of(case, tasks(case, obligations), bounds)
    stop = Stop()
    alone = jobs == 1 or len(plan.todo) <= 1
    done: dict[int, Explored] = {}
    whole: Whole | None = None
    with contextlib.suppress(KeyboardInterrupt), _interrupts_noted(stop), _threads_noted() as ended:
        for number, found in _one_by_one(plan, report, stop, {}) if alone else _shared(
            plan, jobs, report, stop, ended
        ):  # fmt: skip
            if isinstance(found, Whole):
                whole = found
            else:
                done[number] = found
        if case.is_patched and whole is None and len(done) == len(plan.todo) and not stop:
            whole = whole_switch(case)
    complete = len(done) == len(plan.todo) and all(
        explored.result.bound != INTERRUPTED for explored in done.values()
    )
    if stop and complete:
        raise KeyboardInterrupt
    return Proof(
        case=case,
        bounds=bounds,
        explored=tuple(done[index] for index in sorted(done)),
        window=None if whole is None else whole.window,
        checks=() if whole is None else whole.checks,
        seconds=time.monotonic() - started,
        missing=tuple(task for index, task in enumerate(plan.todo) if index not in done),
    )


def _one_by_one(
    plan: TaskPlan, report: ProofReport, stop: Stop, done: dict[int, Explored]
) -> Iterator[Found]:
    todo = plan.todo
    for stage in (plan.early, plan.late):
        known = stage is plan.late and proves_nothing(done.values())
        for batch, index in [(b, i) for b in stage for i in b if i not in done]:
            if stop:
                return
            bounds = plan.bounds_in(batch, done, known)
            position, task = len(done), todo[index]

            def tell(progress: Progress, position: int = position, task: Task = task) -> None:
                report(ProofProgress(position, len(todo), task.name, progress))
                if stop:
                    raise KeyboardInterrupt

            report(ProofProgress(position, len(todo), task.name, None))
            done[index] = run_task(plan.case, task, bounds, tell)
            yield index, done[index]


def _shared(
    plan: TaskPlan, jobs: int, report: ProofReport, stop: Stop, ended: Sequence[BaseException]
) -> Iterator[Found]:
    try:
        pool, waiting, reports = _start(plan, jobs, stop)
    except (OSError, RuntimeError):  # no process, descriptor or thread to be had: do without
        yield from _one_by_one(plan, report, stop, {})
        return
    done: dict[int, Explored] = {}
    late = plan.late
    try:
        while waiting or late:
            if ended:
                raise OSError("the pool cannot go on") from ended[0]
            if stop:
                # What runs ends by itself and says what it covered.
                waiting, late = {future for future in waiting if not future.cancel()}, ()
            elif not waiting:
                known = proves_nothing(done.values())
                waiting, late = {pool.submit(_run, batch, known) for batch in late}, ()
            finished, waiting = wait(waiting, _EVERY, FIRST_COMPLETED)
            for each in finished:
                for number, found in each.result():
                    if not isinstance(found, Whole):
                        done[number] = Explored(plan.todo[number], *found)
                    yield number, found if isinstance(found, Whole) else done[number]
            _tell(reports, len(done), len(plan.todo), report)
        pool.shutdown()
        return
    except BaseException as error:
        _give_up(pool)
        if isinstance(error, BrokenProcessPool) and error.__cause__ is None:  # else the pool
            raise MachineError(
                "a process of the proof died, or was killed",
                todo="make room in memory, or raise the limits (ulimit -a), and run kpatch again",
            ) from error
        if not isinstance(error, OSError | BrokenProcessPool):
            raise
    # A process could not have what it needs: what is left is done here, one by one.
    del pool, reports, waiting
    yield from _one_by_one(plan, report, stop, done)


def _start(
    plan: TaskPlan, jobs: int, stop: Stop
) -> tuple[ProcessPoolExecutor, set[PendingBatch], Any]:
    """The processes at work. Raises OSError or RuntimeError where not all of them can be had."""
    context = multiprocessing.get_context("fork")
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(plan, reports, stop)
    )
    try:
        # The whole switch takes as long as the longest batch: at the end others would wait for it.
        work = [(WHOLE,), *plan.early] if plan.case.is_patched else plan.early
        return pool, {pool.submit(_run, batch, False) for batch in work}, reports
    except BaseException:
        _give_up(pool)
        raise


def _give_up(pool: ProcessPoolExecutor) -> None:
    """End the processes; wait for none of them."""
    for process in multiprocessing.active_children():
        if not process.daemon:  # daemons are others': who reads the patched file meanwhile is one
            process.kill()  # which nobody can have had ignored
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
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _threads_noted() -> Iterator[Sequence[BaseException]]:
    """What threads end with inside of it. None is told of elsewhere.

    A pool's own thread needs another one, which may not be had: its futures then wait for ever.
    """
    ended: list[BaseException] = []
    before = threading.excepthook
    threading.excepthook = lambda thread: ended.append(thread.exc_value or SystemError())
    try:
        yield ended
    finally:
        threading.excepthook = before


def _tell(reports: Any, done: int, of: int, report: ProofReport) -> None:
    last: tuple[str, Progress] | None = None
    while not reports.empty():
        last = reports.get()
    report(ProofProgress(done, of, last[0] if last else "", last[1] if last else None))


_MINE: dict[str, Any] = {}
"""What a worker was given when it began."""


def _begin(plan: TaskPlan, reports: Any, stop: Stop) -> None:
    _MINE.update(plan=plan, reports=reports, stop=stop)
    # An interrupt on the terminal goes to every process; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Explorations make many small objects, and hardly any cycles.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def _end_with_parent() -> None:
    """A worker has no reason to live on when the first one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(batch: Sequence[int], known: bool) -> list[tuple[int, ExploredParts | Whole]]:
    """Some tasks, by number. Their modules stay here: the first process has them."""
    plan: TaskPlan = _MINE["plan"]
    done: dict[int, Explored] = {}
    found: list[tuple[int, ExploredParts | Whole]] = []
    for number in batch:
        if _MINE["stop"]:
            break
        if number == WHOLE:
            found.append((number, whole_switch(plan.case)))
            continue
        task = plan.todo[number]

        def tell(progress: Progress, task: Task = task) -> None:
            _MINE["reports"].put((task.name, progress))
            if _MINE["stop"]:
                raise KeyboardInterrupt

        done[number] = one = run_task(plan.case, task, plan.bounds_in(batch, done, known), tell)
        found.append((number, (one.result, one.counterexamples, one.shares_memory)))
    return found
