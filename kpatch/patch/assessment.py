"""The verdict on a module, and everything that it rests on, as values."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from enum import Enum
from typing import NamedTuple

from kpatch.elf.klink import BrokenRule, check
from kpatch.elf.module import Module
from kpatch.errors import KpatchError
from kpatch.kernel.detect import Detection
from kpatch.kqemu.identify import Identity
from kpatch.kqemu.sourcefix import SourceFix
from kpatch.patch.note import Note
from kpatch.signature.model import Match


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


class Means(Enum):
    """How the module before the patch was found."""

    ORIGINAL = "original"
    TAKEN_OUT = "taken-out"
    REBUILT = "rebuilt"


class Unpatched(NamedTuple):
    """The module before the patch, and what the patch was made for (offsets in bytes).

    Only with Means.ORIGINAL it is the file that was patched. With TAKEN_OUT it is what the other
    tool would have made of it, with REBUILT it does the same. Its sections have the numbers that
    they have in the patched module.
    """

    module: Module
    means: Means
    match: Match
    cpuid: int
    tss_stride: int
    note: Note | None


class Assessment(NamedTuple):
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


def stripped(module: Module, identity: Identity, before: Unpatched | None) -> Assessment:
    """The verdict on a patched module that another tool has stripped."""
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
