"""Carries out a plan."""

from __future__ import annotations

from kpatch.elf.editor import append
from kpatch.elf.klink import require
from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError
from kpatch.patch.note import sealed
from kpatch.patch.original import original_of
from kpatch.patch.plan import Plan, note_section


def apply_plan(plan: Plan) -> bytes:
    """The patched file. The same plan gives the same bytes everywhere.

    Raises LinkerRefusalError if the kernel linker would not take the result, and DamagedFileError
    if the plan does not fit its module.
    """
    patched = sealed(
        append(
            plan.module,
            overwrites=plan.overwrites,
            sections=(*plan.sections, note_section(plan.note)),
            symbols=plan.symbols,
            relocations=plan.relocations,
            retypes=plan.retypes,
        )
    )
    module = read_module(patched, plan.module.name)
    require(module)
    if original_of(module) != plan.module.data:
        raise DamagedFileError(
            "the patched file does not give back the original",
            where=plan.module.name,
            todo="nothing was written; report this file",
        )
    return patched
