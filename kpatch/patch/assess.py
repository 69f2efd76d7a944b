"""What a module is, as far as a repair is concerned: the verdict, and everything it rests on.

A module with a note of kpatch's is judged here. Any other goes on to
:mod:`kpatch.patch.without_patch`, which asks for a source fix, the kernel that it is for, and the
sites of a signature, and says whether it is affected. :mod:`kpatch.patch.assessment` has the words.
"""

from __future__ import annotations

from collections.abc import Sequence

from kpatch.elf.klink import check
from kpatch.elf.module import Module
from kpatch.errors import (
    DamagedFileError,
    KernelUnknownError,
    KpatchError,
    UnknownModuleError,
)
from kpatch.kernel.detect import detect
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.kqemu.identify import KQEMU, Identity, identify
from kpatch.patch.assessment import Assessment, Means, Verdict, stripped
from kpatch.patch.fast_path import (
    not_for_amd64,
    of_another_system,
    without_sections,
)
from kpatch.patch.note import Note, read_note, seal_holds
from kpatch.patch.without_patch import assess_unpatched
from kpatch.signature.image import is_split_off, symbols_only
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Signature
from kpatch.units import counted

__all__ = ["Assessment", "Verdict", "assess"]


def assess(
    module: Module, *, host: Host = UNKNOWN_HOST, signatures: Sequence[Signature] | None = None
) -> Assessment:
    """Say what ``module`` is, by ``signatures`` or, without them, by those that come with kpatch.

    Raises nothing but SignatureError for broken data files of ours.
    """
    identity = identify(module)
    cut = without_sections(module)
    if cut is not None:
        known_name = KQEMU.encode() in module.data
        verdict = Verdict.UNKNOWN_BUILD if known_name else Verdict.NOT_KQEMU
        return Assessment(module, identity, verdict, cut.what, cut)
    if identity.kind != "freebsd-amd64":
        return _elsewhere(module, identity)
    known = load_signatures() if signatures is None else signatures
    if identity.is_kqemu and is_split_off(module):
        split = symbols_only().within(module.name)
        return Assessment(module, identity, Verdict.UNKNOWN_BUILD, split.what, split)
    try:
        note = read_note(module)
    except DamagedFileError as error:
        # Here and further down: a module that was never patched does not pay for it.
        from kpatch.patch.before import is_unpatched

        if not is_unpatched(module, known):
            return Assessment(
                module, identity, Verdict.CHANGED, error.what, error.within(module.name)
            )
        note = None  # another tool's section of that name
    if note is not None:
        found = _patched(module, identity, note, known)
    else:
        found = assess_unpatched(module, identity, host, known)
    return _for_host(found, host)


def _elsewhere(module: Module, identity: Identity) -> Assessment:
    other = of_another_system(identity, module.name)
    if other is not None:
        return Assessment(module, identity, Verdict.NOT_AFFECTED, other.what, other)
    refusal = not_for_amd64(identity, module.name)
    return Assessment(module, identity, Verdict.NOT_KQEMU, refusal.what, refusal)


def _patched(
    module: Module, identity: Identity, note: Note, known: Sequence[Signature]
) -> Assessment:
    from kpatch.patch.before import unpatched

    try:
        before = unpatched(module, note, known)
    except UnknownModuleError as error:
        return Assessment(module, identity, Verdict.UNKNOWN_BUILD, error.what, error, note)
    except KpatchError as error:
        return Assessment(module, identity, Verdict.CHANGED, error.what, error, note)
    if before is None or before.means is not Means.ORIGINAL:
        return stripped(module, identity, before)
    # Imported here: it assembles the patch again, which only a module with a note needs.
    from kpatch.patch.unpatch import require_genuine

    try:
        # Anybody can seal a file: only patching the original again tells that this is the patch.
        require_genuine(module, before)
        if not seal_holds(module.data, note):
            raise DamagedFileError(
                "changed since kpatch patched it: the SHA-256 of the patched file is another",
                where=module.name,
                todo="take the patch back with 'kpatch revert' and apply it again",
            )
    except KpatchError as error:
        return Assessment(module, identity, Verdict.CHANGED, error.what, error, note, before=before)
    reason = f"patched by kpatch {note.version} with {note.signature}, and intact since"
    return Assessment(
        module, identity, Verdict.PATCHED, reason, note=note, linker=check(module), before=before
    )


def _for_host(found: Assessment, host: Host) -> Assessment:
    """``found``, with a refusal where it is patched for another kernel than ``host`` names."""
    before = found.before
    if before is None or not found.is_patched or not host.is_given:
        return found
    try:
        module = before.module
        said = detect(module, osversion=host.osversion, kernel=host.kernel, said_by=host.said_by)
        layout = said.require_layout()
    except KernelUnknownError as error:
        return _refused(found, error)
    if (layout.cpuid, layout.tss_stride) == (before.cpuid, before.tss_stride):
        return found
    if layout.cpuid != before.cpuid:
        differs = f"cpuid at {before.cpuid:#x}, but this kernel has it at {layout.cpuid:#x}"
    else:
        differs = (
            f"elements of common_tss of {counted(before.tss_stride, 'byte')}, but this kernel's "
            f"have {layout.tss_stride}"
        )
    return _refused(
        found,
        KernelUnknownError(
            f"it is patched for kernels with {differs}",
            todo="take the patch back with 'kpatch revert', then apply it for this kernel",
        ),
    )


def _refused(found: Assessment, error: KpatchError) -> Assessment:
    reason = f"{found.reason}; {error.what}"
    return found._replace(reason=reason, refusal=error.within(found.module.name))
