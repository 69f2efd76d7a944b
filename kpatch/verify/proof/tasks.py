"""The task plan of a proof: what is explored, on which module, within which bounds.

Everything here is data or a function that returns data; :mod:`kpatch.verify.proof.workers` shares
the work among processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from kpatch.elf.module import Module
from kpatch.signature.model import Match
from kpatch.verify.explore import (
    Answer,
    Counterexample,
    MemoryModel,
    Options,
    Progress,
    Result,
    Schedule,
    explore,
    from_text,
)
from kpatch.verify.explore.bound import Bound, BoundKind
from kpatch.verify.machine.rounds import MOST_ENDLESS, MOST_STARTS, explore_rounds
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.machine.setup import Setup, Subject
from kpatch.verify.proof import MAX_STATES
from kpatch.verify.proof.checks import Window
from kpatch.verify.proof.controls import controls
from kpatch.verify.proof.fixes import FixModel, applicable
from kpatch.verify.proof.followed import followed, ran_beside
from kpatch.verify.proof.lanes import Lanes, confirmed, lanes_of
from kpatch.verify.proof.obligations import Obligation

TaskKind = Literal["obligation", "control"]
_BEYOND_VIOLATION: Final = 4_800
"""States looked into after the first violation, times the square of the CPUs. A wrong patch may
have any number of states, and more are worth nothing to its verdict; what else is wrong shows with
the fewest CPUs."""
_SHORTEST: Final = 320_000
"""States looked at for the counterexample with the fewest preemptions, times the fourth power of
the CPUs: 20,000 with two, and next to none with sixteen, where each costs as much as many of two
CPUs. The reports show the counterexample of the fewest CPUs."""
_SHOWN: Final = 3
"""Counterexamples that are replayed and shown, of one obligation."""


@dataclass(frozen=True)
class Bounds:
    """The limits of every single exploration, and the reductions.

    ``beyond_violation``: states looked into after the first violation, times the square of the
    CPUs; None for all. ``is_known``: by other explorations the verdict is no proof.
    """

    max_states: int = MAX_STATES
    max_seconds: float = float("inf")
    por: bool = True
    symmetry: bool = True
    every_instruction: bool = False
    beyond_violation: int | None = _BEYOND_VIOLATION
    is_known: bool = False

    def options(self, model: MemoryModel, cpus: int) -> Options:
        """The explorer's options."""
        beyond = self.beyond_violation
        return Options(
            model=model,
            por=self.por,
            spins=self.por,
            symmetry=self.symmetry,
            absent=True,
            max_states=self.max_states,
            max_seconds=self.max_seconds,
            beyond_violation=beyond // cpus**2 if beyond is not None else None,
            known_elsewhere=beyond // cpus if beyond is not None and self.is_known else None,
            shortest_states=_SHORTEST // cpus**4,
        )


@dataclass(frozen=True, eq=False)
class Case:
    """What is proven about: the module, its original (itself if unpatched), the match, cpuid.

    It is no value: it keeps a subject of each module that it was asked for, and those keep engines;
    and the ways through the patch, by the address of the module.
    """

    module: Module
    original: Module
    match: Match
    cpuid: int
    fix: FixModel = field(default_factory=FixModel)
    _subjects: dict[int, Subject] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _ways: dict[int, frozenset[int]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def is_patched(self) -> bool:
        """True if there is a patch to prove."""
        return self.module.data != self.original.data

    def setup(self, module: Module, obligation: Obligation, bounds: Bounds) -> Setup:
        """The machine for one exploration."""
        # By identity: a module is a large value. Each subject keeps its module, so none is reused.
        subject = self._subjects.get(id(module))
        if subject is None:
            subject = Subject.of(module, self.match.image, self.original, self.fix.tail)
            self._subjects[id(module)] = subject
        return Setup(
            subject,
            obligation.scenario,
            cpus=obligation.cpus,
            cpuid_offset=self.cpuid,
            tr_selector=obligation.tr_selector,
            model=obligation.model,
            mode="instruction" if bounds.every_instruction else "visible",
        )

    def ran_beside(self, setup: Setup) -> int | None:
        """What :func:`~kpatch.verify.proof.followed.ran_beside` finds in a machine of this module,
        which is followed once wherever it lies.
        """
        base = setup.world.loaded.base
        if base not in self._ways:
            self._ways[base] = followed(setup, self.match, self.cpuid)
        return ran_beside(setup, self.match, self.cpuid, self._ways[base])


@dataclass(frozen=True)
class Task:
    """One exploration. ``expected`` is empty for obligations; ``locks`` is as in a control."""

    kind: TaskKind
    name: str
    module: Module = field(repr=False)
    obligation: Obligation
    expected: frozenset[str] = frozenset()
    locks: bool = True


@dataclass(frozen=True)
class Explored:
    """What one task found."""

    task: Task
    result: Result
    counterexamples: tuple[tuple[Counterexample, Lanes], ...] = ()
    shares_memory: bool = True

    @property
    def is_undecided(self) -> bool:
        """True where it was too much to explore: others like it are, too, and prove nothing."""
        bound = self.result.bound
        return (
            self.result.verdict is Answer.NOT_PROVEN
            and bound is not None
            and bound.kind in (BoundKind.STATES, BoundKind.STARTS)
        )

    @property
    def holds(self) -> bool:
        """True where an obligation is proven, or a control failed as it must.

        A patch that shares no memory at all, such as one with a descriptor of each CPU's own,
        needs no lock: then there is nothing to take away.
        """
        if self.task.kind != "control":
            return self.result.verdict is Answer.PROVEN
        if not self.task.locks and not self.shares_memory:
            return self.result.verdict is Answer.PROVEN
        return bool(
            self.task.expected & {counterexample.prop for counterexample, _ in self.counterexamples}
        )


def tasks(case: Case, obligations: Sequence[Obligation]) -> tuple[Task, ...]:
    """Controls first: they are short, and without them the rest is worth nothing.

    Raises VerificationError if a control cannot be made.
    """
    if not case.fix.judged:
        return ()
    if not case.is_patched:
        obligations = applicable(tuple(obligations), case.fix)
    models = tuple(dict.fromkeys(obligation.model for obligation in obligations))
    made = controls(case.module, case.original, models) if case.is_patched else ()
    return (
        *(
            Task(
                "control",
                control.name,
                control.module,
                control.obligation,
                control.expected,
                control.locks,
            )
            for control in made
        ),
        *(
            Task("obligation", obligation.title, case.module, obligation)
            for obligation in obligations
        ),
    )


def run_task(
    case: Case, task: Task, bounds: Bounds, progress: Callable[[Progress], None] | None = None
) -> Explored:
    """Explore, and replay what was found on engines that share one memory.

    Raises VerificationError if a counterexample does not replay, and what setting up the machine
    raises.
    """
    if task.kind == "control":
        bounds = replace(bounds, every_instruction=False)
    setup = replace(case.setup(task.module, task.obligation, bounds), locks=task.locks)
    options = bounds.options(task.obligation.model, task.obligation.cpus)
    if task.kind == "control":  # it must fail in an expected way, which need not be the first
        options = replace(options, beyond_violation=None)
    brief = replace(options, max_states=min(options.max_states, MOST_ENDLESS))
    result, setup = explore_rounds(
        setup,
        lambda program: explore(program, options, report=progress or _nobody),
        lambda program: explore(program, brief, report=progress or _nobody),
        1 if bounds.is_known else MOST_STARTS,
    )
    if task.kind == "obligation" and case.is_patched and result.verdict is Answer.PROVEN:
        result = _as_far_as_followed(result, case.ran_beside(setup))
    shown = tuple(
        (
            counterexample,
            confirmed(
                setup.confirm(from_text(counterexample.schedule)), setup.world, counterexample
            ),
        )
        for counterexample in result.counterexamples[:_SHOWN]
    )
    return Explored(task, result, shown, setup.shares_memory)


def _as_far_as_followed(result: Result, beside: int | None) -> Result:
    """Not proven, where a CPU ran what the dataflow did not follow, at ``beside``."""
    if beside is None:
        return result
    bound = Bound(BoundKind.NOT_FOLLOWED, f"code that was not followed, at {beside:#x},")
    return replace(result, verdict=Answer.NOT_PROVEN, bound=bound)


def replayed_lanes(case: Case, obligation: Obligation, schedule: Schedule, bounds: Bounds) -> Lanes:
    """Run one schedule on engines that share one memory, and show what every step did.

    Raises UsageError for a move that cannot be made.
    """
    setup = case.setup(case.module, obligation, bounds)
    return lanes_of(setup.replay_live(schedule), setup.world)


def _nobody(progress: Progress) -> None:
    """Nobody listens to the progress."""


def measure_window(case: Case) -> Window:
    """Measure the window of the patched and of the unpatched module, on an undisturbed CPU."""
    obligation = Obligation(LEAVE, 2, MemoryModel.SC)
    bounds = Bounds()
    patched = case.setup(case.module, obligation, bounds).window()
    unpatched = case.setup(case.original, obligation, bounds).window()
    return Window(patched, unpatched, case.match.signature.window_bound)
