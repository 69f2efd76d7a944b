"""The steps that a ports build runs: apply, verify, staged, packaged.

Each step asserts its effect on the file as it lies on the disk. An exit status alone proves
little in a build: a wrong name, a link or a make that runs nothing all end with 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kpatch.digest import digest_of
from kpatch.errors import AlreadyFixedError, FileAccessError, VerificationError
from kpatch.ports import locate
from kpatch.ports.locate import Folders
from kpatch.storage.bulk import PIECE

if TYPE_CHECKING:
    from kpatch.verify.proof.verdict import Proof


class Standing(Enum):
    """What a module is, as far as a build needs to know."""

    AFFECTED = "affected"
    REPAIRED = "repaired"
    NOT_AFFECTED = "not-affected"
    SOUND_SOURCE_FIX = "sound-source-fix"
    UNSOUND_SOURCE_FIX = "unsound-source-fix"


PASSES_UNTOUCHED = frozenset({Standing.NOT_AFFECTED, Standing.SOUND_SOURCE_FIX})


@dataclass(frozen=True)
class Examined:
    """One look at a module: how it stands, and why, in one phrase without a full stop."""

    standing: Standing
    reason: str


@dataclass(frozen=True)
class Shown:
    """What a proof showed, in one phrase, and the proof; None where it was skipped."""

    phrase: str
    proof: Proof | None = None


class Workshop(Protocol):
    """The rest of kpatch, as a build uses it. The command line binds it.

    Every method raises only the errors of ``kpatch.errors``.
    """

    def examine(self, path: Path) -> Examined:
        """How the module stands. Raises for anything that is not one of the standings."""

    def apply(self, path: Path) -> None:
        """Repair the file in place. Called for AFFECTED modules only."""

    def verify(self, path: Path) -> Shown:
        """Prove the repair in the file."""


@dataclass(frozen=True)
class Report:
    """What one step did to one file.

    ``line`` is for the log of the build. It is empty where the step has nothing to add: a module
    that needs no repair gets one line in all, from ``apply``.
    """

    step: str
    path: Path
    standing: Standing
    sha256: str
    line: str
    proof: Proof | None = None


def apply(names: Sequence[str], folders: Folders, workshop: Workshop) -> Iterator[Report]:
    """Repair each module that the build made, or say why it needs no repair.

    A module that is repaired already passes: it is what a rerun finds after a failed proof.
    Raises AlreadyFixedError for an unsound source fix, VerificationError when the file does not
    read as repaired afterwards.
    """
    for name in names:
        path = locate.built(name, folders)
        examined = workshop.examine(path)
        _refuse_unsound(examined, path)
        if examined.standing is not Standing.AFFECTED:
            yield _report("apply", path, examined, _as_it_was(examined))
            continue
        workshop.apply(path)
        after = workshop.examine(path)
        if after.standing is not Standing.REPAIRED:
            raise VerificationError(
                f"the repair did not reach the file: it is {after.standing.value}",
                where=str(path),
                todo="report this: it is a bug in kpatch",
            )
        yield _report("apply", path, after, f"repaired ({after.reason})")


def verify(names: Sequence[str], folders: Folders, workshop: Workshop) -> Iterator[Report]:
    """Prove the repair of each module, on the file as the build left it.

    Raises VerificationError for a module that still needs the repair, and what the proof raises.
    """
    for name in names:
        path = locate.built(name, folders)
        examined = workshop.examine(path)
        _refuse_unsound(examined, path)
        _refuse_unrepaired(examined, path, "built")
        untouched = examined.standing in PASSES_UNTOUCHED
        shown = Shown("") if untouched else workshop.verify(path)
        yield _report("verify", path, examined, shown.phrase, shown.proof)


def staged(names: Sequence[str], folders: Folders, workshop: Workshop) -> Iterator[Report]:
    """Check that what was staged is what was proven.

    The same bytes as the built file need no second proof. Other bytes (a stripped copy) are
    proven again. Raises VerificationError for a staged module that needs the repair.
    """
    for name in names:
        proven = _sha256(locate.built(name, folders))
        yield from _checked("staged", name, proven, folders, workshop)


def packaged(names: Sequence[str], folders: Folders, workshop: Workshop) -> Iterator[Report]:
    """As ``staged``, once more, right before a package is made.

    A package can be made of what is installed, without a build: then the module is proven as it
    is. Raises as ``staged`` does.
    """
    for name in names:
        built = locate.built_if_there(name, folders)
        proven = _sha256(built) if built else None
        yield from _checked("packaged", name, proven, folders, workshop)


def _checked(
    step: str, name: str, proven: str | None, folders: Folders, workshop: Workshop
) -> Iterator[Report]:
    """Each staged file of that name. ``proven``: SHA-256 of what was proven, None if unknown."""
    others = "with other bytes than built" if proven else "without a build"
    for path in locate.staged(name, folders):
        examined = workshop.examine(path)
        _refuse_unsound(examined, path)
        _refuse_unrepaired(examined, path, "staged")
        untouched = examined.standing in PASSES_UNTOUCHED
        proof = None
        if _sha256(path) == proven:
            line = "" if untouched else f"{step} as built, SHA-256 {proven}"
        elif untouched:
            line = f"{step} {others}, left as it is: {examined.reason}"
        else:
            shown = workshop.verify(path)
            line, proof = f"{step} {others}, {shown.phrase}", shown.proof
        yield _report(step, path, examined, line, proof)


def _refuse_unsound(examined: Examined, path: Path) -> None:
    if examined.standing is Standing.UNSOUND_SOURCE_FIX:
        raise AlreadyFixedError(
            examined.reason,
            where=str(path),
            todo="remove that patch from files/ of the port (those of kqemu call it"
            " patch-tssworkaround), or have it replaced: set"
            " KPATCH_FLAGS=--replace-source-fix; make clean, and build again",
        )


def _refuse_unrepaired(examined: Examined, path: Path, how: str) -> None:
    if examined.standing is Standing.AFFECTED:
        raise VerificationError(
            f"the {how} module is not repaired: {examined.reason}",
            where=str(path),
            todo="make clean and build again; something replaced the module after the repair",
        )


def _as_it_was(examined: Examined) -> str:
    if examined.standing is Standing.REPAIRED:
        return f"repaired before, left as it is ({examined.reason})"
    return f"left as it is: {examined.reason}"


def _report(
    step: str,
    path: Path,
    examined: Examined,
    line: str,
    proof: Proof | None = None,
) -> Report:
    line = f"{path.name}: {line}" if line else ""
    return Report(step, path, examined.standing, _sha256(path), line, proof)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return digest_of(iter(lambda: file.read(PIECE), b""))
    except OSError as error:
        raise FileAccessError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            todo="build as a user who may read the work folder",
        ) from error
