"""How far a source fix can be run: the model of a module that carries one.

A and B are functions that kqemu_exec calls when the switch is back, so they run behind it. C does
its work before the entry, once for each CPU, with parts of the kernel that are not modelled: it
is taken as done, and the switch is run on hosts with private GDTs. What is left out is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from kpatch.elf.module import Module
from kpatch.kernel.host import SELECTOR_TO_7
from kpatch.kqemu.codescan import CallSite
from kpatch.kqemu.sourcefix import FixFunction, recognise
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.world.caller import LockedPart, locked_part
from kpatch.verify.world.host import MODELLED


@dataclass(frozen=True)
class FixModel:
    """What runs behind the switch, which hosts make sense, and what the model leaves out."""

    tail: LockedPart | None = None
    function: FixFunction | None = None
    private_only: bool = False
    caveat: str = ""
    judged: bool = True
    """False where the fix cannot be run: then nothing is, because the switch alone is not what
    the module does."""


def model_of(module: Module) -> FixModel:
    """The model of an unpatched module; an empty one where it carries no source fix."""
    fix = recognise(module)
    if fix is None:
        return FixModel()
    if fix.variant == "C":
        return FixModel(
            private_only=True,
            caveat="source fix C is not run but taken as done: the switch is explored on hosts "
            "where every CPU has a GDT of its own",
        )
    if fix.function is None:
        return _not_run("the source fix", "it has no symbol any more")
    return _behind_the_switch(module, fix.function, fix.variant, fix.calls)


def applicable(obligations: tuple[Obligation, ...], model: FixModel) -> tuple[Obligation, ...]:
    """Those that mean something for a module without a patch of ours.

    Scenarios with an unknown struct pcpu are about the guard of a patch.
    """
    kept = []
    for obligation in obligations:
        scenario = obligation.scenario
        if not scenario.layout_known:
            continue
        if model.private_only and scenario.gdt != "private" and not scenario.one_cpu:
            continue
        if model.tail is not None and obligation.tr_selector != SELECTOR_TO_7:
            continue  # the fix has the selector of its kernel compiled in
        kept.append(obligation)
    return tuple(kept)


def _not_run(name: str, why: str, function: FixFunction | None = None) -> FixModel:
    caveat = f"{name} cannot be run, because {why}"
    return FixModel(function=function, caveat=caveat, judged=False)


def _behind_the_switch(
    module: Module, function: FixFunction, variant: str, calls: tuple[CallSite, ...]
) -> FixModel:
    name = f"source fix {variant}"
    end = function.offset + max(function.size, 1)
    relocations = module.relocations_at(function.section, function.offset, end)
    symbols = [module.symbols[relocation.symbol] for relocation in relocations]
    unknown = sorted({symbol.name for symbol in symbols if symbol.is_undefined} - MODELLED)
    if unknown:
        why = f"it uses {', '.join(unknown)}, which the model of the kernel does not have"
        return _not_run(name, why)
    parts = [locked_part(module, call) for call in calls]
    if not parts or None in parts:
        # A machine has a lock of its own around the call.
        return _not_run(name, "no lock is found around its call", function)
    return FixModel(
        tail=parts[0],
        function=function,
        caveat=f"{name} is run behind the switch, under its caller's lock; the kernel function "
        "that it calls is a model",
    )
