"""One module: assess, plan, patch, read back, prove. ``apply`` and ``hook`` share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kpatch import expected
from kpatch.abi.host import Host
from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError, VerificationError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.note import read_note
from kpatch.patch.original import original_of
from kpatch.patch.prepare import prepare
from kpatch.report.documents import Document
from kpatch.witness.readers.readback import Reading, in_background, read_back

Proof = Callable[[Module, Module], Document]
"""From the patched module and its original to the proof. Raises VerificationError."""


class Repaired(NamedTuple):
    """A module that went through: what it was, its new bytes (or its own), the proof, and what
    other readers saw in the new bytes.
    """

    assessment: Assessment
    before: bytes
    after: bytes
    proof: Document | None
    readings: tuple[Reading, ...] = ()

    @property
    def is_new(self) -> bool:
        """False where the module was patched already."""
        return self.before != self.after


def repair(
    name: str,
    data: bytes,
    host: Host,
    *,
    replace_source_fix: bool,
    proof: Proof | None,
    to_write: bool = True,
) -> Repaired:
    """Patch one module, and prove the patch unless ``proof`` is None.

    What is ``to_write`` other readers read back first, beside the proof.
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
    shown = None
    readings: tuple[Reading, ...] = ()
    if proof:
        with in_background(patched, expected.after(plan, patched)) as read:
            shown = proof(read_module(patched, name), module)
            readings = read()
    elif to_write:
        readings = read_back(patched, expected.after(plan, patched))
    require_agreement(readings, name)
    return Repaired(found, data, patched, shown, readings)


def require_agreement(readings: Iterable[Reading], name: str) -> None:
    """Raise VerificationError if another reader sees something else than what was planned."""
    for each in readings:
        if not each.agrees:
            raise VerificationError(
                f"{each.reader} reads the patched file otherwise than planned: "
                f"{'; '.join(each.differences)}",
                where=name,
                todo="nothing was written; report this file",
            )


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
