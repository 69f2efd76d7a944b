"""What a module without a patch of ours is: affected, fixed, not affected, or unknown."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Sequence
from typing import NamedTuple

from kpatch.elf.klink import BrokenRule, check
from kpatch.elf.module import Module
from kpatch.errors import (
    AlreadyFixedError,
    KpatchError,
    MatchError,
    NotAffectedError,
    UnknownModuleError,
)
from kpatch.kernel.detect import Detection, detect
from kpatch.kernel.host import Host
from kpatch.kqemu.codescan import holds_code
from kpatch.kqemu.identify import Identity
from kpatch.kqemu.sourcefix import SourceFix, recognise
from kpatch.patch.assessment import Assessment, Verdict, stripped
from kpatch.patch.fast_path import not_kqemu
from kpatch.patch.matching import match_of
from kpatch.signature.model import Match, Signature


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
        if refusal is not None:
            # Where it was raised nobody asks; but that keeps the module until it is collected.
            refusal.__traceback__ = None
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


def assess_unpatched(
    module: Module, identity: Identity, host: Host, known: Sequence[Signature]
) -> Assessment:
    """The verdict, from the kernel, the source fix and the match. Raises as ``assess`` does."""
    # A patch's own code, whose note somebody took away, is no source fix.
    try:
        source_fix = recognise(module, ignored={signature.code_section for signature in known})
    except MatchError as error:
        return Assessment(module, identity, Verdict.UNKNOWN_BUILD, error.what, error)
    detection = detect(module, osversion=host.osversion, kernel=host.kernel, said_by=host.said_by)
    linker = check(module)
    match, failure = match_of(module, known)

    found = _Found(module, identity, source_fix, detection, match, linker)
    if match is None and failure is not None:
        # Imported here: a match settles it mostly.
        from kpatch.patch.before import by_content

        try:
            before = by_content(module, None, known)
        except KpatchError as error:
            return found.assessment(Verdict.CHANGED, error.what, error)
        if before is not None:
            return stripped(module, identity, before)
        if not identity.is_kqemu and isinstance(failure, UnknownModuleError):
            failure = not_kqemu(module.name)
            return found.assessment(Verdict.NOT_KQEMU, failure.what, failure)
        return found.assessment(Verdict.UNKNOWN_BUILD, failure.what, failure)
    if source_fix is not None:
        fixed = _already_fixed(source_fix)
        return found.assessment(Verdict.SOURCE_FIXED, fixed.what, fixed)
    if not holds_code(module):
        unseen = _nothing_says_where_its_code_is()
        return found.assessment(Verdict.UNKNOWN_BUILD, unseen.what, unseen)
    try:
        detection.require_affected()
    except NotAffectedError as error:
        return found.assessment(Verdict.NOT_AFFECTED, error.what, error)
    return _affected(found)


def _nothing_says_where_its_code_is() -> UnknownModuleError:
    """The refusal of a module in which a source fix would not be seen."""
    return UnknownModuleError(
        "none of its sections is marked as code, and no symbol names a function, so that nobody "
        "can tell whether it carries a source fix",
        todo="use the module as it was built: a tool changed the flags of its sections",
    )


def _affected(found: _Found) -> Assessment:
    """It has the bug. What else may keep it from being patched?"""
    reason = "it reloads TR from a GDT slot that may hold another CPU's TSS"
    fatal = next((broken for broken in found.linker if broken.is_fatal), None)
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
    what = f"it carries {name}: {fix.judgement}"
    if fix.is_replaceable:
        todo = "'kpatch apply --replace-source-fix' switches it off and patches"
        return AlreadyFixedError(what, todo=todo, option="--replace-source-fix")
    todo = "nothing to repair" if fix.is_sound else "build it without that fix, then patch it"
    return AlreadyFixedError(what, todo=todo)
