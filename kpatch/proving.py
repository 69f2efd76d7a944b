"""What there is to prove about a module, the run of the proof, and what it comes to.

``patch`` and ``verify`` are strangers: here the match and the note of the one become the case of
the other.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kpatch.errors import (
    KernelUnknownError,
    KpatchError,
    LinkerRefusalError,
    OtherModuleError,
    VerificationError,
)
from kpatch.units import counted

# Imported for the types only: not everybody who loads this pays for the emulator, or for what
# looks for sites.
if TYPE_CHECKING:
    from kpatch.elf.module import Module
    from kpatch.kernel.detect import Detection
    from kpatch.patch.assess import Assessment
    from kpatch.signature.model import Match
    from kpatch.verify.proof.obligations import Obligation
    from kpatch.verify.proof.tasks import Bounds, Case
    from kpatch.verify.proof.verdict import Proof
    from kpatch.verify.proof.workers import ProofProgress

_DEFAULT_CPUID: Final = 0x34
"""For a module without a patch, whose switch reads no struct pcpu: any offset will do."""

_CAVEATS: Final = {
    "ORIGINAL": "the file was changed since kpatch patched it; this is about the file as it is now",
    "TAKEN_OUT": "another tool stripped the file since kpatch patched it; this is about the "
    "file as it is now",
    "REBUILT": "the file has no kpatch note; this is about the file as it is now, and the "
    "unpatched module that must fail was rebuilt from the trampolines",
}
"""By the name of the means by which the original was had."""


@dataclass(frozen=True)
class Proving:
    """How a proof is run: in how many processes (0: all cores), and who hears how it goes on."""

    jobs: int = 0
    report: Callable[[ProofProgress], None] = lambda standing: None


ON_ALL_CORES: Final = Proving()


def case_of(found: Assessment) -> Case:
    """What there is to prove about an assessed module: its patch, or that it is wrong as it is.

    Raises the refusal of a module that is neither patched nor affected nor fixed by source, and of
    one whose kernel is contradicted, in the words of ``apply``, and VerificationError for a patch
    that was made for other kernels. A kernel that is only in doubt keeps nobody from seeing that
    the module as it is goes wrong.
    """
    # Imported here: only a proof pays for the emulator.
    from kpatch.kernel.detect import detect
    from kpatch.patch.assess import Verdict
    from kpatch.verify.proof.fixes import FixModel, model_of
    from kpatch.verify.proof.tasks import Case

    module = found.module
    before = found.before
    if isinstance(found.refusal, KernelUnknownError) and (found.is_patched or _contradicts(found)):
        raise found.refusal
    if before is not None:
        if found.verdict is not Verdict.PATCHED:
            # Imported here: it assembles the patch again.
            from kpatch.patch.unpatch import require_rest

            require_rest(module, before)
        require_own_kernels(before.cpuid, module, detect(before.module))
        caveat = "" if found.verdict is Verdict.PATCHED else _CAVEATS[before.means.name]
        return Case(module, before.module, before.match, before.cpuid, FixModel(caveat=caveat))
    if found.verdict not in (Verdict.AFFECTED, Verdict.SOURCE_FIXED):
        raise _refusal(found)
    if isinstance(found.refusal, LinkerRefusalError):
        raise found.refusal
    cpuid = found.detection.cpuid if found.detection else None
    return Case(module, module, _require_match(found), cpuid or _DEFAULT_CPUID, model_of(module))


def _contradicts(found: Assessment) -> bool:
    return found.detection is not None and any(c.matters for c in found.detection.conflicts)


def _require_match(found: Assessment) -> Match:
    if found.match is None:
        raise _refusal(found)
    return found.match


def _refusal(found: Assessment) -> KpatchError:
    return found.refusal or OtherModuleError(found.reason, where=found.module.name)


def require_own_kernels(cpuid: int, module: Module, own: Detection | None) -> None:
    """Raise VerificationError for a patch with another cpuid than the module's own traces name."""
    wanted = own.cpuid if own else None
    if wanted not in (None, cpuid):
        raise VerificationError(
            f"the patch takes cpuid from {cpuid:#x} of struct pcpu, but the kernels that "
            f"this module is for have it at {wanted:#x}",
            where=module.name,
            todo="take the patch back with 'kpatch revert' and apply it again",
        )


def prove_case(
    case: Case,
    proving: Proving,
    obligations: Sequence[Obligation] | None = None,
    bounds: Bounds | None = None,
) -> Proof:
    """Explore; without ``obligations`` what ``apply`` proves. Raises as the workers do."""
    from kpatch.verify.proof.obligations import default_suite
    from kpatch.verify.proof.tasks import Bounds
    from kpatch.verify.proof.workers import run_proof

    # What every process of the proof needs, and would load by itself when it makes an engine.
    importlib.import_module("unicorn.unicorn_py3.arch.intel")
    return run_proof(
        case,
        default_suite(with_maxcpu=False) if obligations is None else obligations,
        bounds or Bounds(),
        jobs=proving.jobs or os.cpu_count() or 1,
        report=proving.report,
    )


def require_proven(proof: Proof) -> None:
    """Raise VerificationError unless everything is proven.

    Raises KeyboardInterrupt again for a proof that was interrupted: an interrupt is meant for the
    whole command, not for this file alone.
    """
    if proof.is_interrupted:
        raise KeyboardInterrupt
    if proof.verdict != "proven":
        raise VerificationError(
            _why_not(proof),
            where=proof.case.module.name,
            todo="nothing was written; 'kpatch diff' and 'kpatch verify' show more",
        )


def _why_not(proof: Proof) -> str:
    failed = [explored for explored in proof.explored if not explored.holds]
    wrong = [run for run in proof.obligations if not run.holds and run.counterexamples]
    if proof.verdict == "withheld":
        controls = [e for e in failed if e.task.kind == "control" and not e.result.bound]
        names = ", ".join(f"{e.task.name} ({e.task.obligation.model.value})" for e in controls)
        others = [found for control in controls for found, _ in control.counterexamples[:1]]
        instead = f"; found instead: {others[0].prop}: {others[0].what}" if others else ""
        return f"the verdict is withheld: a control was not refuted: {names}{instead}"
    if wrong:
        found = wrong[0].counterexamples[0][0]
        return f"not right: {wrong[0].task.name}: {found.prop}: {found.what}"
    if failed:
        return f"not proven: {failed[0].task.name}: {failed[0].result.bound} reached"
    if proof.window is not None and not proof.window.holds:
        return "the window with a foreign TSS is longer than the declared bound"
    unproven = [check for check in proof.checks if not check.holds]
    if unproven:
        return unproven[0].reason
    missing = counted(len(proof.missing), "exploration")
    return f"not proven: {missing} not run"
