"""What a module is, as far as a repair is concerned: the verdict, and everything it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from kpatch.elf.klink import BrokenRule, check
from kpatch.elf.module import Module
from kpatch.errors import (
    AlreadyFixedError,
    DamagedFileError,
    KernelUnknownError,
    KpatchError,
    NotAffectedError,
    UnknownModuleError,
)
from kpatch.kernel.detect import Detection, detect
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.kqemu.identify import Identity, identify
from kpatch.kqemu.sourcefix import SourceFix, recognise
from kpatch.patch.before import Means, Unpatched, by_content, is_unpatched, unpatched
from kpatch.patch.fast_path import (
    not_for_amd64,
    not_kqemu,
    of_another_system,
    without_sections,
)
from kpatch.patch.matching import match_of
from kpatch.patch.note import Note, read_note, seal_holds
from kpatch.signature.image import is_split_off, symbols_only
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Match, Signature


class Verdict(Enum):
    """What ``scan`` says of a file, in one word."""

    AFFECTED = "affected"
    PATCHED = "patched"
    STRIPPED = "patched-then-stripped"
    CHANGED = "patched-then-changed"
    SOURCE_FIXED = "fixed-by-source"
    NOT_AFFECTED = "not-affected"
    UNKNOWN_BUILD = "unknown-build"
    NOT_KQEMU = "not-kqemu"


@dataclass(frozen=True)
class Assessment:
    """The verdict on one module, in a sentence, with what was found on the way.

    ``refusal`` is the error that ``apply`` would raise; None where it would patch, or where the
    module is patched already, for the kernel that was named if one was. ``before`` is what a
    patched module was before that.
    """

    module: Module
    identity: Identity
    verdict: Verdict
    reason: str
    refusal: KpatchError | None = None
    note: Note | None = None
    source_fix: SourceFix | None = None
    detection: Detection | None = None
    match: Match | None = None
    linker: tuple[BrokenRule, ...] = ()
    before: Unpatched | None = None

    @property
    def is_patched(self) -> bool:
        """Whether the patch is in the module, and whole."""
        return self.verdict in (Verdict.PATCHED, Verdict.STRIPPED)


def assess(
    module: Module, *, host: Host = UNKNOWN_HOST, signatures: Sequence[Signature] | None = None
) -> Assessment:
    """Say what ``module`` is, by ``signatures`` or, without them, by those that come with kpatch.

    Raises nothing but SignatureError for broken data files of ours.
    """
    identity = identify(module)
    cut = without_sections(module)
    if cut is not None:
        return Assessment(module, identity, Verdict.UNKNOWN_BUILD, cut.what, cut)
    if identity.kind != "freebsd-amd64":
        return _elsewhere(module, identity)
    known = load_signatures() if signatures is None else signatures
    if identity.is_kqemu and is_split_off(module):
        split = symbols_only().within(module.name)
        return Assessment(module, identity, Verdict.UNKNOWN_BUILD, split.what, split)
    try:
        note = read_note(module)
    except DamagedFileError as error:
        if not is_unpatched(module, known):
            return Assessment(
                module, identity, Verdict.CHANGED, error.what, error.within(module.name)
            )
        note = None  # another tool's section of that name
    if note is not None:
        found = _patched(module, identity, note, known)
    else:
        found = _unpatched(module, identity, host, known)
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
    try:
        before = unpatched(module, note, known)
    except KpatchError as error:
        return Assessment(module, identity, Verdict.CHANGED, error.what, error, note)
    if before is None or before.means is not Means.ORIGINAL:
        return _stripped(module, identity, before)
    if not seal_holds(module.data, note):
        changed = DamagedFileError(
            "changed since kpatch patched it: the SHA-256 of the patched file is another",
            where=module.name,
            todo="take the patch back with 'kpatch revert' and apply it again",
        )
        return Assessment(
            module, identity, Verdict.CHANGED, changed.what, changed, note, before=before
        )
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
        layout = detect(
            before.module, osversion=host.osversion, kernel=host.kernel
        ).require_layout()
    except KernelUnknownError as error:
        return _refused(found, error)
    if (layout.cpuid, layout.tss_stride) == (before.cpuid, before.tss_stride):
        return found
    if layout.cpuid != before.cpuid:
        differs = f"cpuid at {before.cpuid:#x}, but this kernel has it at {layout.cpuid:#x}"
    else:
        differs = (
            f"elements of common_tss of {before.tss_stride} bytes, but this kernel's have "
            f"{layout.tss_stride}"
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
    return replace(found, reason=reason, refusal=error.within(found.module.name))


def _stripped(module: Module, identity: Identity, before: Unpatched | None) -> Assessment:
    note = before.note if before else None
    if note is None:
        reason = "patched by kpatch, without its note; the patch is intact"
    else:
        reason = (
            f"patched by kpatch {note.version} with {note.signature}; then stripped by another "
            "tool; the patch is intact"
        )
    return Assessment(
        module, identity, Verdict.STRIPPED, reason, note=note, linker=check(module), before=before
    )


class _Found(NamedTuple):
    """What was found in a module without a patch, before it has a verdict."""

    module: Module
    identity: Identity
    source_fix: SourceFix | None
    detection: Detection
    match: Match | None
    linker: tuple[BrokenRule, ...]

    def assessment(
        self, verdict: Verdict, reason: str, refusal: KpatchError | None = None
    ) -> Assessment:
        """The verdict, with all of this."""
        name = self.module.name
        return Assessment(
            self.module,
            self.identity,
            verdict,
            reason,
            refusal.within(name) if refusal and name else refusal,
            source_fix=self.source_fix,
            detection=self.detection,
            match=self.match,
            linker=self.linker,
        )


def _unpatched(
    module: Module, identity: Identity, host: Host, known: Sequence[Signature]
) -> Assessment:
    # A patch's own code, whose note somebody took away, is no source fix.
    source_fix = recognise(module, ignored={each.code_section for each in known})
    detection = detect(module, osversion=host.osversion, kernel=host.kernel)
    linker = check(module)
    match, failure = match_of(module, known)

    found = _Found(module, identity, source_fix, detection, match, linker)
    if match is None and failure is not None:
        try:
            before = by_content(module, None, known)
        except KpatchError as error:
            return found.assessment(Verdict.CHANGED, error.what, error)
        if before is not None:
            return _stripped(module, identity, before)
        if not identity.is_kqemu and isinstance(failure, UnknownModuleError):
            failure = not_kqemu(module.name)
            return found.assessment(Verdict.NOT_KQEMU, failure.what, failure)
        return found.assessment(Verdict.UNKNOWN_BUILD, failure.what, failure)
    if source_fix is not None:
        fixed = _already_fixed(source_fix)
        return found.assessment(Verdict.SOURCE_FIXED, fixed.what, fixed)
    try:
        detection.require_affected()
    except NotAffectedError as error:
        return found.assessment(Verdict.NOT_AFFECTED, error.what, error)
    return _affected(found)


def _affected(found: _Found) -> Assessment:
    """It has the bug. What else may keep it from being patched?"""
    reason = "it reloads TR from a GDT slot that may hold another CPU's TSS"
    fatal = next((each for each in found.linker if each.is_fatal), None)
    if fatal is not None:
        return found.assessment(Verdict.AFFECTED, f"{reason}; {fatal.error().what}", fatal.error())
    try:
        found.detection.require_cpuid()
    except KpatchError as error:
        return found.assessment(Verdict.AFFECTED, f"{reason}; {error.what}", error)
    if found.detection.gdt == "private":
        # Inferred from the module's data only, so it may be wrong: patching is harmless, not
        # patching may not be.
        reason += (
            ", unless its kernel gives every CPU a GDT of its own, as its traces suggest: "
            "the patch is harmless then and not needed; --osversion or --kernel settle it"
        )
    return found.assessment(Verdict.AFFECTED, reason)


def _already_fixed(fix: SourceFix) -> AlreadyFixedError:
    name = "an unknown source fix" if fix.variant == "unknown" else f"source fix {fix.variant}"
    advice = {
        "A": "--replace-source-fix switches it off and patches",
        "B": "--replace-source-fix switches it off and patches",
        "C": "nothing to repair",
        "unknown": "build it without that fix, then patch it",
    }
    return AlreadyFixedError(f"it carries {name}: {fix.judgement}", todo=advice[fix.variant])
