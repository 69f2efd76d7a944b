"""Which checks of the whole switch a proof makes, and on which hosts."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Final, NamedTuple

from kpatch.kernel.host import SELECTOR_OF_8
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.numbers import Numbers, numbers
from kpatch.verify.machine.pretences import Mistaken, mistaken
from kpatch.verify.machine.scenarios import (
    LEAVE,
    PRIVATE_GDT,
    UNKNOWN_LAYOUT_PRIVATE,
    WRONG_MASK_UP,
)
from kpatch.verify.machine.setup import Setup
from kpatch.verify.proof.checks import Check, Window, check_inputs, check_same_effect
from kpatch.verify.proof.followed import sites_of
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Bounds, Case, measure_window
from kpatch.verify.world.guard import treated
from kpatch.verify.world.host import MODELLED
from kpatch.verify.world.places import Places

_COMPARED_ON: Final = (
    Obligation(LEAVE, 2, MemoryModel.SC),
    Obligation(PRIVATE_GDT, 2, MemoryModel.SC, SELECTOR_OF_8),
    Obligation(WRONG_MASK_UP, 1, MemoryModel.SC),
)
"""Hosts on which the patched switch is compared: each way through the shipped trampolines."""

_UNKNOWN: Final = Obligation(UNKNOWN_LAYOUT_PRIVATE, 2, MemoryModel.SC)
"""Where a guard is tried: a CPU's own TSS is right there, and no other."""


class Whole(NamedTuple):
    """What was found out about the whole switch."""

    window: Window
    checks: tuple[Check, ...]


def whole_switch(case: Case) -> Whole:
    """The window, and the checks beside the explorations."""
    found, window = each_number_of(case), measure_window(case)
    if window.patched is not None:
        # On whichever CPU, and in whichever round, it was the longest.
        window = replace(window, patched=max(window.patched, found.window))
    return Whole(window, run_checks(case, found))


def run_checks(case: Case, found: Numbers | None = None) -> tuple[Check, ...]:
    """What is to be proven of the patched switch beside the explorations; ``found`` is what was
    found with each number, if that is known.
    """
    reads, same = same_effect_of(case, _COMPARED_ON)
    taken = mistaken_of(case)
    found = found or each_number_of(case)
    told = found.found
    wrong = map(_there, (*((taken.wrong,) if taken.wrong else ()), *told.wrong))
    reads = replace(reads, wrong=tuple(dict.fromkeys((*reads.wrong, *told.reads))))
    same = replace(
        same,
        wrong=(*same.wrong, *wrong),
        unknown=(*same.unknown, *map(_there, (*taken.unknown, *told.unknown))),
    )
    return (*inputs_of(case, found.ran), reads, same)


def inputs_of(case: Case, ran: Set[int] = frozenset()) -> tuple[Check, ...]:
    """What the switch depends on, and what it stores: it does not depend on the host. ``ran`` is
    what a CPU has run of it, on a host with the same addresses.
    """
    setup = case.setup(case.module, _COMPARED_ON[0], Bounds())
    inputs, *others = check_inputs(setup, case.module, case.cpuid, sites_of(case.match), ran)
    asked = sorted(case.module.undefined - case.original.undefined - MODELLED)
    strange = tuple(f"whether a kernel has '{name}', which the patch asks for" for name in asked)
    return (replace(inputs, unknown=(*inputs.unknown, *strange)), *others)


def same_effect_of(case: Case, hosts: Sequence[Obligation]) -> tuple[Check, Check]:
    """The patched and the unpatched switch on each of these hosts."""
    first = hosts[0]
    patched, original = (
        case.setup(module, first, Bounds()) for module in (case.module, case.original)
    )
    pairs = ((host.scenario.name, _on(patched, host), _on(original, host)) for host in hosts)
    return check_same_effect(pairs, case.cpuid, sites_of(case.match))


def mistaken_of(case: Case) -> Mistaken:
    """What the switch takes for a struct pcpu that it knows, and is none."""
    world, sites = case.setup(case.module, _UNKNOWN, Bounds()).world, sites_of(case.match)
    places = Places(world, case.module, case.cpuid, sites)
    return mistaken(world, places, treated(world, case.module, case.cpuid, sites))


def each_number_of(case: Case) -> Numbers:
    """What the switch does with each number that a CPU may have."""
    world = case.setup(case.module, _UNKNOWN, Bounds()).world
    return numbers(world, Places(world, case.module, case.cpuid, sites_of(case.match)))


def _there(found: str) -> str:
    return f"{_UNKNOWN.scenario.name}: {found}"


def _on(setup: Setup, host: Obligation) -> Setup:
    """The same module on another host; what was decoded of it is kept."""
    return replace(setup, scenario=host.scenario, cpus=host.cpus, tr_selector=host.tr_selector)
