"""The build steps bound to the rest of kpatch: real modules, real repairs, the real proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kpatch import repair
from kpatch import storage as files
from kpatch.containers.target import module_bytes
from kpatch.errors import (
    DamagedFileError,
    KernelUnknownError,
    KpatchError,
    LinkerRefusalError,
    MatchError,
    OtherSignatureError,
    UnknownModuleError,
    VerificationError,
)
from kpatch.kernel.host import Host
from kpatch.patch.assess import Assessment, Verdict
from kpatch.ports.build import Examined, Shown, Standing
from kpatch.proving import Proving, require_proven
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.signature.model import Signature
    from kpatch.verify.proof.verdict import Proof


_REMEDIES: tuple[tuple[type[KpatchError], str], ...] = (
    (
        KernelUnknownError,
        "set KPATCH_OSVERSION to the version of the kernel that loads the module (there: "
        "sysctl -n kern.osreldate), make clean, and build again",
    ),
    (DamagedFileError, "make clean, and build again"),
    (
        MatchError,
        "make clean, and build again; if that says the same, report it: this build needs a"
        " signature of its own",
    ),
    (
        OtherSignatureError,
        "name the folder of that signature in KPATCH_FLAGS (--signatures DIR), and build again",
    ),
    (
        UnknownModuleError,
        "name the module that this port builds (USES=kpatch:FILE, or KPATCH_FILES)",
    ),
    (
        LinkerRefusalError,
        "build it with the compiler of that release, strip no more than its debug symbols,"
        " make clean, and build again",
    ),
)
"""What to do, in a build: it has variables, no kept copy, and can make the module again."""


@contextmanager
def _in_a_build() -> Iterator[None]:
    """Errors leave with a build's remedies: its variables instead of options."""
    try:
        yield
    except KpatchError as error:
        for kind, todo in _REMEDIES:
            if isinstance(error, kind):
                error.todo, error.option = todo, None
                break
        raise


class ModuleWorkshop:
    """Examines, repairs and proves module files for one host."""

    def __init__(
        self,
        host: Host,
        *,
        replace_source_fix: bool,
        proving: Proving | None,
        signatures: Sequence[Signature] | None = None,
    ) -> None:
        """``proving`` is how a proof is run; None skips it, and says so."""
        self._host = host
        self._replace_source_fix = replace_source_fix
        self._proving = proving
        self._signatures = signatures

    def examine(self, path: Path) -> Examined:
        """How the module stands. Raises its refusal where a build must not go on.

        What to do is said in a build's words: it has variables, and can be made again.
        """
        with _in_a_build():
            return self._examined(path)

    def _examined(self, path: Path) -> Examined:
        found = repair.scan(
            _contents(path), str(path), host=self._host, signatures=self._signatures
        )
        if found.is_patched and found.refusal is None:
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
        data = files.read_bulk(place)
        with _in_a_build():
            done = repair.apply(
                module_bytes(data),
                str(path),
                host=self._host,
                signatures=self._signatures,
                replace_source_fix=self._replace_source_fix,
                proving=None,
            )
        files.replace(place, done.module.data, expected=data)

    def verify(self, path: Path) -> Shown:
        """Prove the repair in the file as it is. Raises VerificationError."""
        if self._proving is None:
            return Shown("NOT VERIFIED (--no-verify)")
        try:
            proof = repair.prove(
                _contents(path),
                str(path),
                host=self._host,
                signatures=self._signatures,
                proving=self._proving,
            )
            require_proven(proof)
        except VerificationError as error:
            raise VerificationError(
                error.what,
                where=str(path),
                todo="the build stops here; do not load this module, and report it",
            ) from error
        return Shown(_phrase(proof), proof)

    def _standing_of_fix(self, found: Assessment) -> Standing:
        if found.source_fix is not None and found.source_fix.is_sound:
            return Standing.SOUND_SOURCE_FIX
        if self._replace_source_fix:
            return Standing.AFFECTED
        return Standing.UNSOUND_SOURCE_FIX


def _contents(path: Path) -> bytes:
    return module_bytes(files.read_bulk(path))


def _phrase(proof: Proof) -> str:
    """What was proven, by numbers that are the same in every run."""
    proven = proof.obligations
    states = sum(explored.result.states for explored in proven)
    return (
        f"proven in {counted(len(proven), 'exploration')} with {counted(states, 'state')}; "
        f"{counted(len(proof.explored) - len(proven), 'control')} refuted, as they must be"
    )
