"""A patch with changes, and what the verifier says about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

from kpatch.kernel.host import SELECTOR_TO_7
from kpatch.signature.model import Match
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Bounds, Case, Explored, Task, run_task
from tests.verify.mutants.changes import CPUID, Change, Draft, sample

SC, TSO = MemoryModel.SC, MemoryModel.TSO

BOUNDS = Bounds(max_states=200_000, beyond_violation=None)
"""Far more than any variant has. A run that hits a bound proves nothing, and kills nothing."""


def at(
    scenario: str, cpus: int = 2, model: MemoryModel = SC, selector: int = SELECTOR_TO_7
) -> Obligation:
    """Where a variant is put to the test."""
    return Obligation(scenario_named(scenario), cpus, model, selector)


LEAVE = at("leave")


@cache
def shipped() -> Match:
    """Where the sites are."""
    return Draft().match()


@dataclass(frozen=True)
class Variant:
    """A patch with changes."""

    name: str
    changes: tuple[Change, ...]

    @property
    def case(self) -> Case:
        """The patched module, to be proven."""
        return _case(self)

    def explored(self, where: Obligation) -> Explored:
        """Every interleaving; counterexamples are replayed on engines that share one memory."""
        return _explored(self, where)


@dataclass(frozen=True)
class Mutant(Variant):
    """A patch that is wrong: ``broken`` are the properties that do not hold ``where``.

    ``passes`` is where its fault cannot show, and must not be found.
    """

    broken: tuple[str, ...]
    where: Obligation = LEAVE
    passes: tuple[Obligation, ...] = ()


# Few are kept: a case holds several modules and machines, and there are hundreds of variants.
@lru_cache(16)
def _case(variant: Variant) -> Case:
    draft = Draft()
    for change in variant.changes:
        draft = change(draft)
    return Case(draft.module(variant.name), sample(), shipped(), CPUID)


@lru_cache(16)
def _explored(variant: Variant, where: Obligation) -> Explored:
    task = Task("obligation", variant.name, variant.case.module, where)
    return run_task(variant.case, task, BOUNDS)


RIGHT = Variant("the patch as it is", ())
"""The control of the controls."""
