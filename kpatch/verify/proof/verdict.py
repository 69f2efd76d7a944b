"""A proof: the obligations, the controls, the window, and the verdict over them all.

Everything here is data or a function that returns data; :mod:`kpatch.verify.proof.workers` shares
the work among processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from kpatch.elf.module import Module
from kpatch.errors import VerificationError
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
from kpatch.verify.explore.options import INTERRUPTED
from kpatch.verify.machine.rounds import explore_rounds
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.machine.setup import Setup, Subject
from kpatch.verify.proof.checks import Check, Window
from kpatch.verify.proof.controls import controls
from kpatch.verify.proof.fixes import FixModel, applicable
from kpatch.verify.proof.lanes import Lanes, confirmed, lanes_of
from kpatch.verify.proof.obligations import Obligation

TaskKind = Literal["obligation", "control", "window"]
_SHOWN: Final = 3
"""Counterexamples that are replayed and shown, of one obligation."""


@dataclass(frozen=True)
class Bounds:
    """The limits of every single exploration, and the reductions."""

    max_states: int = 5_000_000
    max_seconds: float = float("inf")
    por: bool = True
    symmetry: bool = True
    every_instruction: bool = False

    def options(self, model: MemoryModel) -> Options:
        """The explorer's options."""
        return Options(
            model=model,
            por=self.por,
            waits=self.por,
            symmetry=self.symmetry,
            absent=True,
            max_states=self.max_states,
            max_seconds=self.max_seconds,
        )


@dataclass(frozen=True)
class Case:
    """What is proven about: the module, its original (itself if unpatched), the match, cpuid."""

    module: Module
    original: Module
    match: Match
    cpuid: int
    fix: FixModel = field(default_factory=FixModel)
    _subjects: dict[int, Subject] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def is_patched(self) -> bool:
        """True if there is a patch to prove."""
        return self.module.data != self.original.data

    def setup(self, module: Module, obligation: Obligation, bounds: Bounds) -> Setup:
        """The machine for one exploration."""
        scenario = scenario_named(obligation.scenario)
        if scenario is None:
            raise VerificationError(f"no scenario '{obligation.scenario}'")
        # By identity: a module is a large value. Each subject keeps its module, so none is reused.
        subject = self._subjects.get(id(module))
        if subject is None:
            subject = Subject.of(module, self.match.image, self.original, self.fix.tail)
            self._subjects[id(module)] = subject
        return Setup(
            subject,
            scenario,
            cpus=obligation.cpus,
            cpuid_offset=self.cpuid,
            tr_selector=obligation.tr_selector,
            model=obligation.model,
            mode="instruction" if bounds.every_instruction else "visible",
        )


@dataclass(frozen=True)
class Task:
    """One exploration. ``expected`` is empty for obligations; ``locks`` is as in a control."""

    kind: TaskKind
    name: str
    module: Module = field(repr=False)
    obligation: Obligation
    expected: frozenset[str] = frozenset()
    locks: bool = True

    @property
    def title(self) -> str:
        """Short and unique within a proof."""
        if self.kind == "control":
            return f"control: {self.name} ({self.obligation.model.value})"
        return self.name


@dataclass(frozen=True)
class Explored:
    """What one task found."""

    task: Task
    result: Result
    counterexamples: tuple[tuple[Counterexample, Lanes], ...] = ()
    shares_memory: bool = True

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
        return bool(self.task.expected & {each.prop for each, _ in self.counterexamples})

    def to_document(self) -> dict[str, Any]:
        """JSON-ready data."""
        document = self.result.to_document()
        document |= {
            "kind": self.task.kind,
            "name": self.task.name,
            "scenario": self.task.obligation.scenario,
            "tr_selector": self.task.obligation.tr_selector,
            "expected": sorted(self.task.expected),
            "holds": self.holds,
            "counterexamples": [
                {**asdict(found), "lanes": shown.to_document()}
                for found, shown in self.counterexamples
            ],
        }
        return document


def tasks(case: Case, obligations: Sequence[Obligation]) -> tuple[Task, ...]:
    """Controls first: they are short, and without them the rest is worth nothing.

    Raises VerificationError if a control cannot be made.
    """
    if not case.fix.judged:
        return ()
    if not case.is_patched:
        obligations = applicable(tuple(obligations), case.fix)
    models = tuple(dict.fromkeys(each.model for each in obligations))
    made = controls(case.module, case.original, models) if case.is_patched else ()
    return (
        *(
            Task("control", each.name, each.module, each.obligation, each.expected, each.locks)
            for each in made
        ),
        *(Task("obligation", each.title, case.module, each) for each in obligations),
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
    options = bounds.options(task.obligation.model)
    result, setup = explore_rounds(
        setup, lambda program: explore(program, options, report=progress or _nobody)
    )
    shown = tuple(
        (each, confirmed(setup.confirm(from_text(each.schedule)), setup.world, each))
        for each in result.counterexamples[:_SHOWN]
    )
    return Explored(task, result, shown, setup.shares_memory)


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
    obligation = Obligation("leave", 2, MemoryModel.SC)
    bounds = Bounds()
    patched = case.setup(case.module, obligation, bounds).window()
    unpatched = case.setup(case.original, obligation, bounds).window()
    return Window(patched, unpatched, case.match.signature.window_bound)


@dataclass(frozen=True)
class Proof:
    """Everything that was explored, and the verdict.

    ``missing`` are tasks that were not run because somebody interrupted.
    """

    case: Case
    bounds: Bounds
    explored: tuple[Explored, ...]
    window: Window | None
    seconds: float
    missing: tuple[Task, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def verdict(self) -> Literal["proven", "violated", "not-proven", "withheld", "not-judged"]:
        """``proven`` only if every obligation is, and every control failed as it must;
        ``not-judged`` where a part of the module that belongs to the switch cannot be run.

        A control that was explored to its end and did not fail withholds it, whatever else was
        found: what it says about the check is true of an accusation as well. One that a bound
        ended early says as little as an obligation does.
        """
        if not self.case.fix.judged:
            return "not-judged"
        obligations = [each for each in self.explored if each.task.kind == "obligation"]
        failed = [each for each in self.explored if not each.holds]
        if any(each.task.kind == "control" and not each.result.bound for each in failed):
            return "withheld"
        if any(each.result.verdict is Answer.VIOLATED for each in obligations):
            return "violated"
        if self.window is not None and not self.window.holds and not self.missing:
            return "withheld" if self.window.unpatched is None else "violated"
        if any(each.wrong for each in self.checks):
            return "violated"
        unproven = [each for each in self.checks if not each.holds]
        if self.missing or not obligations or failed or unproven:
            return "not-proven"
        return "proven"

    @property
    def is_interrupted(self) -> bool:
        """True if somebody ended it early."""
        bounds = {each.result.bound for each in self.explored}
        return bool(self.missing) or INTERRUPTED in bounds

    def to_document(self) -> dict[str, Any]:
        """JSON-ready data; every report of a proof reads this."""
        return {
            "verdict": self.verdict,
            "patched": self.case.is_patched,
            "cpuid": self.case.cpuid,
            "caveat": self.case.fix.caveat,
            "signature": self.case.match.signature.id,
            "seconds": round(self.seconds, 3),
            "max_states": self.bounds.max_states,
            "every_instruction": self.bounds.every_instruction,
            "window": None
            if self.window is None
            else {**asdict(self.window), "holds": self.window.holds},
            "checks": [each.to_document() for each in self.checks],
            "explored": [each.to_document() for each in self.explored],
            "obligations": sum(
                each.kind == "obligation"
                for each in (*(one.task for one in self.explored), *self.missing)
            ),
            "missing": [each.title for each in self.missing],
        }
