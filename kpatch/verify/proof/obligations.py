"""What a verdict is about: every combination of scenario, memory model and number of CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kpatch.errors import UsageError
from kpatch.kernel.host import SELECTOR_OF_8, SELECTOR_TO_7
from kpatch.units import counted
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import SCENARIOS, Scenario
from kpatch.verify.world.host import MAXCPU


@dataclass(frozen=True, slots=True)
class Obligation:
    """One thing to prove: a scenario on a host of ``cpus`` CPUs, under a memory model."""

    scenario: Scenario
    cpus: int
    model: MemoryModel
    tr_selector: int = SELECTOR_TO_7

    @property
    def title(self) -> str:
        """Short and unique within a suite, as ``two-rounds, 4 CPUs, tso``."""
        selector = "" if self.tr_selector == SELECTOR_TO_7 else f", TR {self.tr_selector:#x}"
        return f"{self.scenario.name}, {counted(self.cpus, 'CPU')}, {self.model.value}{selector}"


def suite(
    scenarios: Sequence[Scenario], cpus: Iterable[int], models: Sequence[MemoryModel]
) -> tuple[Obligation, ...]:
    """These scenarios, or all where none is named, under every model at every number of CPUs.

    Each comes once; scenarios of a kernel for one CPU with one. With the smallest number of CPUs
    each also runs on a host with the TR selector of FreeBSD 8; with larger ones the first scenario
    with a shared GDT does, and the first with private ones. Raises UsageError for a number of CPUs
    that no kernel has.
    """
    cpus = tuple(cpus)
    chosen = scenarios or SCENARIOS
    # One of each kind of GDT: FreeBSD 8 began with a shared one, and was released without.
    first_of_kind = {scenario.gdt: scenario for scenario in reversed(chosen)}.values()
    found: dict[Obligation, None] = {}
    for model in models:
        for count in cpus:
            if not 1 <= count <= MAXCPU:
                raise UsageError(
                    f"{counted(count, 'CPU')}: kernels of the time have 1 to {MAXCPU}",
                    where="--cpus",
                    todo="name numbers in that range",
                )
            for scenario in chosen:
                number = 1 if scenario.one_cpu else count
                found[Obligation(scenario, number, model)] = None
            for scenario in chosen if count == min(cpus) else first_of_kind:
                number = 1 if scenario.one_cpu else count
                found[Obligation(scenario, number, model, SELECTOR_OF_8)] = None
    return tuple(found)


def default_suite(*, with_maxcpu: bool) -> tuple[Obligation, ...]:
    """What ``apply`` proves; ``with_maxcpu`` adds what ``verify`` proves on top."""
    both = (MemoryModel.SC, MemoryModel.TSO)
    small = suite((), (2, 4), both)
    if not with_maxcpu:
        return small
    return tuple(dict.fromkeys((*small, *suite((), (MAXCPU,), both))))
