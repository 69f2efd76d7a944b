"""Carries out a plan, and reads the result back."""

from __future__ import annotations

from kpatch.elf.editor import appended
from kpatch.elf.edits import Pieces, consists_of
from kpatch.elf.klink import require
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.patch.note import read_note, sealed
from kpatch.patch.original import put_back
from kpatch.patch.pieces import note_section
from kpatch.patch.plan import Plan


def apply_plan(plan: Plan) -> bytes:
    """The patched file. The same plan gives the same bytes everywhere.

    Raises what :func:`write` and :func:`read_back` raise.
    """
    return read_back(plan, write(plan)).data


def write(plan: Plan) -> bytes:
    """Make the patched file. Raises DamagedFileError if the plan does not fit its module."""
    return sealed(with_note(plan, plan.note.pack()))


def with_note(plan: Plan, note: bytes) -> Pieces:
    """The patched file with ``note`` in the section of its note. Raises as :func:`write` does."""
    return appended(
        plan.module,
        overwrites=plan.overwrites,
        sections=(*plan.sections, note_section(note)),
        symbols=plan.symbols,
        relocations=plan.relocations,
    )


def read_back(plan: Plan, patched: bytes) -> Module:
    """The patched file as our own reader finds it.

    Raises LinkerRefusalError if the kernel linker would not take it, and DamagedFileError where
    it does not give back the original, to the last byte.
    """
    module = read_module(patched, plan.module.name)
    require(module)
    note = read_note(module)
    if note is None or not consists_of(plan.module.data, put_back(module, note)):
        raise DamagedFileError(
            "the patched file does not give back the original",
            where=plan.module.name,
            todo="nothing was written; report this file",
        )
    return module
