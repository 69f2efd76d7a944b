"""The build steps bound to the rest of kpatch: real modules, real repairs, the real proof."""

from __future__ import annotations

from pathlib import Path

from kpatch import storage as files
from kpatch.abi.host import Host
from kpatch.cli.common import Console
from kpatch.elf.module import Module, read_module
from kpatch.errors import VerificationError
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.original import original_of
from kpatch.ports.build import Examined, Standing
from kpatch.repair import repair, require_same_kernel
from kpatch.report.documents import Document


class ModuleWorkshop:
    """Examines, repairs and proves module files for one host."""

    def __init__(
        self, host: Host, *, replace_source_fix: bool, proof: bool, console: Console
    ) -> None:
        self._host = host
        self._replace_source_fix = replace_source_fix
        self._proof = proof
        self._console = console

    def examine(self, path: Path) -> Examined:
        """How the module stands. Raises its refusal where a build must not go on."""
        module = _module(path)
        found = assess(module, osversion=self._host.osversion, kernel=self._host.kernel)
        if found.verdict is Verdict.PATCHED:
            require_same_kernel(module, self._host)
            return Examined(Standing.REPAIRED, found.reason)
        if found.verdict is Verdict.NOT_AFFECTED:
            return Examined(Standing.NOT_AFFECTED, found.reason)
        if found.verdict is Verdict.SOURCE_FIXED:
            return Examined(self._standing_of_fix(found), found.reason)
        if found.refusal is not None:
            raise found.refusal
        return Examined(Standing.AFFECTED, found.reason)

    def apply(self, path: Path) -> None:
        """Repair the file in place. No copy is kept: the build can make it again."""
        place = files.require_replaceable(path)
        done = repair(
            str(path),
            files.read(place),
            self._host,
            replace_source_fix=self._replace_source_fix,
            proof=None,
        )
        files.replace(place, done.after)

    def verify(self, path: Path) -> str:
        """Prove the repair in the file as it is. Raises VerificationError."""
        if not self._proof:
            return "NOT VERIFIED (--no-verify)"
        # Imported here: the emulator costs start-up time that the other steps need not pay.
        from kpatch.cli.proof import prove

        module = _module(path)
        try:
            proof = prove(module, read_module(original_of(module), str(path)), self._console)
        except VerificationError as error:
            raise VerificationError(
                error.what,
                where=str(path),
                todo="the build stops here; do not load this module, and report it",
            ) from error
        return _shown(proof)

    def _standing_of_fix(self, found: Assessment) -> Standing:
        variant = found.source_fix.variant if found.source_fix else "unknown"
        if variant == "C":
            return Standing.SOUND_SOURCE_FIX
        if self._replace_source_fix:
            return Standing.AFFECTED
        return Standing.UNSOUND_SOURCE_FIX


def _shown(proof: Document) -> str:
    """What was proven, by numbers that are the same in every run."""
    explored = proof["explored"]
    proven = [each for each in explored if each["kind"] == "obligation"]
    states = sum(each["states"] for each in proven)
    return (
        f"proven in {len(proven)} explorations with {states} states; "
        f"{len(explored) - len(proven)} controls refuted, as they must be"
    )


def _module(path: Path) -> Module:
    return read_module(files.read(path), str(path))
