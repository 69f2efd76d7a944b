"""One module through assess, plan, patch and proof. ``apply`` and ``hook`` share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kpatch.abi.host import Host
from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.note import read_note
from kpatch.patch.original import original_of
from kpatch.patch.prepare import prepare
from kpatch.report.documents import Document

Proof = Callable[[Module, Module], Document]
"""From the patched module and its original to the proof. Raises VerificationError."""


class Repaired(NamedTuple):
    """A module that went through: what it was, its new bytes (or its own), and the proof."""

    assessment: Assessment
    before: bytes
    after: bytes
    proof: Document | None

    @property
    def is_new(self) -> bool:
        """False where the module was patched already."""
        return self.before != self.after


def repair(
    name: str, data: bytes, host: Host, *, replace_source_fix: bool, proof: Proof | None
) -> Repaired:
    """Patch one module, and prove the patch unless ``proof`` is None.

    A module that is patched already, for the kernel that ``host`` names, comes back as it is.
    Raises the refusals of the patch layer, and VerificationError.
    """
    module = read_module(data, name)
    found = assess(module, osversion=host.osversion, kernel=host.kernel)
    if found.verdict is Verdict.PATCHED:
        require_same_kernel(module, host)
        return Repaired(found, data, data, None)
    plan = prepare(found, replace_source_fix=replace_source_fix)
    patched = apply_plan(plan)
    shown = proof(read_module(patched, name), module) if proof else None
    return Repaired(found, data, patched, shown)


def require_same_kernel(module: Module, host: Host) -> None:
    """Raise KernelUnknownError if a patched module was patched for another kernel than asked."""
    note = read_note(module)
    if note is None or not host.is_given:
        return
    original = read_module(original_of(module, note), module.name)
    found = assess(original, osversion=host.osversion, kernel=host.kernel)
    if found.detection is None:
        return
    cpuid = found.detection.require_cpuid()
    if cpuid != note.cpuid:
        raise KernelUnknownError(
            f"it is patched for kernels with cpuid at {note.cpuid:#x}, but this kernel has it at "
            f"{cpuid:#x}",
            where=module.name,
            todo="take the patch back with 'kpatch revert', then apply it for this kernel",
        )
