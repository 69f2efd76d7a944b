"""Weighs claims about the kernel: the stronger one counts, and a contradiction is kept."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Sequence
from typing import NamedTuple

from kpatch.kernel.claims import Claim, Source
from kpatch.kernel.kernels import Confidence, Kernel, KernelTable
from kpatch.kernel.versions import Versions, intersect, join, show

_BRANCH = 100_000
_LAST_BRANCH = 99


class Evidence(NamedTuple):
    """One word of one source, and what became of it.

    ``is_decisive``: it narrowed the versions that were left. ``is_overridden``: it contradicts
    a stronger source and did not count.
    """

    source: Source
    seen: str
    means: str
    versions: Versions
    confidence: Confidence | None
    is_decisive: bool = False
    is_overridden: bool = False


class Conflict(NamedTuple):
    """Two sources that cannot both be right.

    ``matters`` if a patch could come out wrong. ``in_module`` if the module's own proven
    traces contradict each other, so that no option can settle it.
    """

    what: str
    matters: bool
    in_module: bool


class Weighed(NamedTuple):
    """The result: the kernels and versions that are left, and how it came to that.

    ``uncovered`` says which kernel is named that the table does not know; None mostly.
    ``names_kernel`` is True where an option or the metadata names the version.
    """

    candidates: tuple[Kernel, ...]
    versions: Versions
    evidence: tuple[Evidence, ...]
    conflicts: tuple[Conflict, ...]
    uncovered: str | None
    names_kernel: bool


def weigh(claims: Sequence[Claim], table: KernelTable) -> Weighed:
    """Weigh ``claims``, which stand in order, the strongest first."""
    names_kernel = any(claim.is_exact for claim in claims)
    # Nobody packaged modules for a development snapshot, so one must be named to be considered.
    pool = [kernel for kernel in table.kernels if names_kernel or not kernel.snapshot]
    scale = _Scale(table, join(kernel.versions for kernel in pool))
    for claim in claims:
        scale.put(claim)
    return Weighed(
        candidates=tuple(k for k in pool if intersect((k.versions,), scale.left)),
        versions=scale.left,
        evidence=tuple(scale.evidence),
        conflicts=tuple(scale.conflicts),
        uncovered=scale.uncovered,
        names_kernel=names_kernel,
    )


class _Scale:
    """One weighing under way; ``left`` are the versions that no claim so far excludes."""

    def __init__(self, table: KernelTable, left: Versions) -> None:
        self.table = table
        self.left = left
        self.accepted: list[Claim] = []
        self.evidence: list[Evidence] = []
        self.conflicts: list[Conflict] = []
        self.uncovered: str | None = None

    def put(self, claim: Claim) -> None:
        if self.uncovered is not None:
            # The rules end where the table ends, so they cannot speak for or against.
            self._keep(claim)
            return
        left = intersect(self.left, claim.versions)
        if left:
            self._keep(claim, is_decisive=left != self.left)
            self.accepted.append(claim)
            self.left = left
        elif claim.is_exact and not self.accepted:
            self._keep(claim, is_decisive=True)
            self.left = ()
            self.uncovered = (
                f"{claim.seen}: FreeBSD {show(claim.versions)} is not in the kernel table, "
                f"which covers {show(self.table.coverage)}"
            )
        else:
            self._keep(claim, is_overridden=True)
            self.conflicts.append(self._conflict(claim))

    def _keep(
        self, claim: Claim, *, is_decisive: bool = False, is_overridden: bool = False
    ) -> None:
        self.evidence.append(
            Evidence(
                source=claim.source,
                seen=claim.seen,
                means=claim.means,
                versions=claim.versions,
                confidence=claim.confidence,
                is_decisive=is_decisive,
                is_overridden=is_overridden,
            )
        )

    def _conflict(self, claim: Claim) -> Conflict:
        alone = [a for a in self.accepted if not intersect(a.versions, claim.versions)]
        # Where none of them alone contradicts it, together they do.
        against = alone[:1] or self.accepted
        versions = alone[0].versions if alone else self.left
        return Conflict(
            what=f"{' and '.join(a.seen for a in against)} (FreeBSD {show(versions)}), "
            f"but {claim.seen} (FreeBSD {show(claim.versions)})",
            matters=self._matters(claim),
            in_module=all(c.confidence == "proven" and not c.is_option for c in (*against, claim)),
        )

    def _matters(self, claim: Claim) -> bool:
        if any(accepted.is_option for accepted in self.accepted):
            # An option settles what is only inferred, except that nothing is to repair.
            return claim.confidence == "proven" or self._decides(claim)
        return not _cpuids(self.table, claim.versions) & _cpuids(self.table, self.left)

    def _decides(self, claim: Claim) -> bool:
        """Whether a module counts as not affected on a word that ``claim`` rules out.

        A module runs on every kernel of the branch that it was built for, a later one too, but
        on none of another branch; and what was built before a branch's first release is promised
        nothing.
        """
        gdts = {k.gdt for k in self.table.kernels if intersect((k.versions,), self.left)}
        releases = [k.versions for k in self.table.kernels if not k.development]
        return gdts == {"private"} and not (
            _branches(intersect(self.left, releases))
            & _branches(intersect(claim.versions, releases))
        )


def _branches(versions: Versions) -> set[int]:
    """The major versions of FreeBSD that ``versions`` lie in: 7 for 700055."""
    return {
        branch
        for version in versions
        for branch in range(
            version.first // _BRANCH, min(version.last // _BRANCH, _LAST_BRANCH) + 1
        )
    }


def _cpuids(table: KernelTable, versions: Versions) -> set[int]:
    return {
        kernel.cpuid
        for kernel in table.kernels
        if kernel.cpuid is not None and intersect((kernel.versions,), versions)
    }
