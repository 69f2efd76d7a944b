"""The story of a repair on one page: assess, plan, patch, read back, prove.

What one step has found out is handed on to the next, never worked out again. Everything here takes
bytes and gives frozen values or bytes: no file is touched and nothing is printed. So it is also
what ``import kpatch`` offers to scripts (docs/library.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.proving import (
    ON_ALL_CORES,
    Proving,
    case_of,
    prove_case,
    require_own_kernels,
    require_proven,
)
from kpatch.readback import others_reading, require_agreement, will_be_patched

# Imported for the types only: a scan pays neither for the assembler nor for the emulator.
if TYPE_CHECKING:
    from kpatch.patch.assess import Assessment
    from kpatch.patch.giveback import GivenBack
    from kpatch.patch.plan import Plan
    from kpatch.signature.model import Signature
    from kpatch.verify.proof.verdict import Proof
    from kpatch.witness.readers.background import Background
    from kpatch.witness.readers.readback import Reading


@dataclass(frozen=True)
class Repaired:
    """A module that went through: what it was, what it is now, the proof, what other readers saw.

    ``proof`` is None where none was asked for.
    """

    assessment: Assessment
    module: Module
    proof: Proof | None
    readings: tuple[Reading, ...] = ()

    @property
    def is_new(self) -> bool:
        """False where the module was patched already."""
        return self.module is not self.assessment.module


def scan(
    data: bytes,
    name: str = "",
    *,
    host: Host = UNKNOWN_HOST,
    signatures: Sequence[Signature] | None = None,
) -> Assessment:
    """Say what a module is: affected, patched, fixed by source, not affected, or something else.

    ``name`` is what messages call it; without ``signatures`` those that come with kpatch are
    tried. Raises DamagedFileError for what is no ELF file or a damaged one.
    """
    # Imported here: in apply the other process loads pyelftools and LIEF meanwhile.
    from kpatch.patch.assess import assess

    return assess(read_module(data, name), host=host, signatures=signatures)


def apply(
    data: bytes,
    name: str = "",
    *,
    host: Host = UNKNOWN_HOST,
    signatures: Sequence[Signature] | None = None,
    replace_source_fix: bool = False,
    proving: Proving | None = ON_ALL_CORES,
    to_write: bool = True,
) -> Repaired:
    """Repair a module, and prove the repair unless ``proving`` is None.

    What is ``to_write``, or is proven, pyelftools and LIEF read back too, in another process. A
    module that is patched already, for the kernel that ``host`` names, comes back as it is, and
    that is what is proven.
    Raises the refusals of the patch layer, VerificationError for whatever is not proven, and
    KeyboardInterrupt where somebody interrupted the proof.
    """
    is_read = to_write or proving is not None
    with others_reading(is_likely=is_read and will_be_patched(data)) as others:
        found = scan(data, name, host=host, signatures=signatures)
        if found.before is not None and found.is_patched:
            if found.refusal is not None:
                raise found.refusal
            return _done_before(found, proving)
        # Imported here: a module that is done already needs no assembler.
        from kpatch.patch.prepare import prepare

        plan = prepare(found, replace_source_fix=replace_source_fix)
        return _carried_out(found, plan, host, proving, others if is_read else None)


def _carried_out(
    found: Assessment,
    plan: Plan,
    host: Host,
    proving: Proving | None,
    others: Background | None,
) -> Repaired:
    """The patch that was planned: made, read back by ``others``, and proven beside that."""
    from kpatch import expected
    from kpatch.patch.apply import read_back, write

    patched = read_back(plan, write(plan))
    if others is None:
        return Repaired(found, patched, None)
    others.read(patched.data, expected.after(plan, patched.data))
    proof = None
    if proving is not None:
        proof = _proven(found, plan, patched, host, proving)
    readings = others.readings()
    require_agreement(readings, patched.name)
    return Repaired(found, patched, proof, readings)


def _proven(found: Assessment, plan: Plan, patched: Module, host: Host, proving: Proving) -> Proof:
    # Imported here, as the assembler is above.
    from kpatch.kernel.detect import detect
    from kpatch.verify.proof.tasks import Case

    if host.is_given:
        require_own_kernels(plan.cpuid, found.module, detect(found.module))
    proof = prove_case(Case(patched, found.module, plan.match, plan.cpuid), proving)
    require_proven(proof)
    return proof


def _done_before(found: Assessment, proving: Proving | None) -> Repaired:
    """A module that is patched already comes back as it is, proven unless told not to."""
    if proving is None:
        return Repaired(found, found.module, None)
    proof = prove_case(case_of(found), proving)
    require_proven(proof)
    return Repaired(found, found.module, proof)


def prove(
    data: bytes,
    name: str = "",
    *,
    host: Host = UNKNOWN_HOST,
    signatures: Sequence[Signature] | None = None,
    proving: Proving = ON_ALL_CORES,
) -> Proof:
    """Explore the switch of a module as it is, patched or not. The verdict is in the result.

    Raises the refusals of :func:`case_of`.
    """
    return prove_case(case_of(scan(data, name, host=host, signatures=signatures)), proving)


def revert(data: bytes, name: str = "", *, signatures: Sequence[Signature] | None = None) -> bytes:
    """The original of a patched module, byte for byte.

    Raises OtherModuleError for a module without a patch, DamagedFileError where the original does
    not come back.
    """
    taken = take_back(data, name, signatures=signatures)
    if not taken.is_original:
        raise DamagedFileError(
            "another tool changed it after the patch, so the original does not come back",
            where=name,
            todo="restore it from the copy beside it, or take the repair out of what it is now",
        )
    return taken.data


def take_back(
    data: bytes, name: str = "", *, signatures: Sequence[Signature] | None = None
) -> GivenBack:
    """The original of a patched module, or the module with the repair taken out; it says which.

    Raises OtherModuleError for a module without a patch, DamagedFileError where neither comes
    back.
    """
    from kpatch.patch.giveback import given_back

    return given_back(read_module(data, name), signatures)
