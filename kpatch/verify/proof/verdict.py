"""A proof: the obligations, the controls, the window, and the verdict over them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kpatch.verify.explore import Answer
from kpatch.verify.explore.bound import INTERRUPTED
from kpatch.verify.proof.checks import Check, Window
from kpatch.verify.proof.tasks import Bounds, Case, Explored, Task


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
    def obligations(self) -> tuple[Explored, ...]:
        """What is to be proven, as far as it was explored: all but the controls."""
        return tuple(run for run in self.explored if run.task.kind == "obligation")

    @property
    def verdict(self) -> Literal["proven", "violated", "not-proven", "withheld", "not-judged"]:
        """``proven`` only if every obligation is, and every control failed as it must;
        ``not-judged`` where a part of the module that belongs to the switch cannot be run, or no
        scenario that was asked for applies to it.

        A control that was explored to its end and did not fail withholds it: what it says about
        the check is true of an accusation as well. But where the unpatched module fails as it
        must and the patch is wrong with its lock, that it is wrong without it in another way than
        a race excuses nothing. A control that a bound ended early says as little as an obligation
        does.
        """
        if not self.case.fix.judged:
            return "not-judged"
        obligations = self.obligations
        failed = [explored for explored in self.explored if not explored.holds]
        violated = any(obligation.result.verdict is Answer.VIOLATED for obligation in obligations)
        controls = [e for e in failed if e.task.kind == "control" and not e.result.bound]
        if any(control.task.locks or not violated for control in controls):
            return "withheld"
        if violated:
            return "violated"
        if self.window is not None and not self.window.holds and not self.missing:
            return "withheld" if self.window.unpatched is None else "violated"
        if any(check.wrong for check in self.checks):
            return "violated"
        unproven = [check for check in self.checks if not check.holds]
        if not obligations and not self.missing:
            return "not-judged"
        if self.missing or failed or unproven:
            return "not-proven"
        return "proven"

    @property
    def is_interrupted(self) -> bool:
        """True if somebody ended it early."""
        bounds = {explored.result.bound for explored in self.explored}
        return bool(self.missing) or INTERRUPTED in bounds
