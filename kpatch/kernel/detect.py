"""Which kernel is a module for? Every word that was weighed stays with the answer.

Doubt is allowed as long as every kernel that is left keeps ``cpuid`` at the same place: a
patch that writes to the GDT which ``sgdt`` saved is right on a shared GDT and harmless on a
private one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from kpatch.elf.module import Module
from kpatch.errors import KernelUnknownError, NotAffectedError
from kpatch.kernel.claims import claims_of
from kpatch.kernel.kernels import (
    CONFIDENCES,
    Confidence,
    Kernel,
    KernelTable,
    OneGdt,
    builtin_table,
)
from kpatch.kernel.ownlayout import HostLayout, OwnLayout, own_layout
from kpatch.kernel.versions import Versions
from kpatch.kernel.weigh import Conflict, Evidence, Weighed, weigh

# Only named in annotations: most calls name no kernel file.
if TYPE_CHECKING:
    from kpatch.kernel.kernelfile import KernelFile

__all__ = ["Conflict", "Detection", "Evidence", "HostLayout", "detect"]

_SETTLES: Final = (
    "settle it with the right version (--osversion, as `sysctl -n kern.osreldate` prints it) "
    "or the kernel that loads the module (--kernel /boot/kernel/kernel)"
)
_ADD_IT: Final = "if that is the right version, examine that kernel and add it to kernels.toml"
_GET_ANOTHER: Final = "the module contradicts itself: build it again, or get another copy"


class Detection(NamedTuple):
    """What is known about the kernel. It raises only when somebody requires an answer.

    ``not_affected`` is the reason why the kernel cannot have the bug, where an option or the
    metadata names a kernel that cannot; None otherwise. ``uncovered`` says which kernel was
    named that the table does not know. ``exact`` is the layout that a kernel file's debugging
    information proves; it outweighs the table. ``own_gdt`` is what that kernel's code says.
    """

    candidates: tuple[Kernel, ...]
    versions: Versions
    evidence: tuple[Evidence, ...]
    conflicts: tuple[Conflict, ...]
    not_affected: str | None
    uncovered: str | None
    exact: HostLayout | None = None
    own_gdt: OneGdt | None = None

    @property
    def low(self) -> int | None:
        """The lowest ``__FreeBSD_version`` that is left."""
        return self.versions[0].first if self.versions else None

    @property
    def high(self) -> int | None:
        """The highest ``__FreeBSD_version`` that is left."""
        return self.versions[-1].last if self.versions else None

    @property
    def cpuid(self) -> int | None:
        """Byte offset of cpuid in ``struct pcpu``; None where unknown or in doubt."""
        if self.exact is not None:
            return self.exact.cpuid
        offsets = {kernel.cpuid for kernel in self.candidates}
        return offsets.pop() if len(offsets) == 1 else None

    @property
    def gdt(self) -> Literal["shared", "private", "unknown"]:
        """Which GDT the CPUs of every candidate have; ``unknown`` where they differ."""
        if self.own_gdt is not None:
            return self.own_gdt
        kinds = {kernel.gdt for kernel in self.candidates}
        if kinds == {"shared"}:
            return "shared"
        return "private" if kinds == {"private"} else "unknown"

    def require_layout(self) -> HostLayout:
        """The host's layout, the same for every candidate.

        Raises KernelUnknownError, which says which option settles it, where the evidence
        leaves two layouts, contradicts itself, or is about a kernel that nobody examined.
        """
        if self.uncovered is not None and self.exact is None:
            raise KernelUnknownError(self.uncovered, todo=_ADD_IT)
        for conflict in self.conflicts:
            if conflict.matters:
                what = f"conflict: {conflict.what}"
                if conflict.in_module:
                    raise KernelUnknownError(what, todo=_GET_ANOTHER)
                raise _unsettled(what)
        if self.exact is not None:
            return self.exact
        strides = {kernel.tss_stride for kernel in self.candidates}
        if self.cpuid is None or len(strides) != 1:
            raise _unsettled(_doubt(self.candidates))
        return HostLayout(self.cpuid, strides.pop())

    def require_cpuid(self) -> int:
        """The byte offset of cpuid. Raises KernelUnknownError as ``require_layout`` does."""
        return self.require_layout().cpuid

    def require_affected(self) -> None:
        """Raises NotAffectedError where ``not_affected`` has a reason."""
        if self.not_affected is not None:
            raise NotAffectedError(self.not_affected, todo="leave the module as it is")


def detect(
    module: Module,
    *,
    osversion: int | None = None,
    kernel: KernelFile | None = None,
    said_by: str = "--osversion",
    table: KernelTable | None = None,
) -> Detection:
    """Weigh the options, the metadata, the undefined symbols and the data of a module.

    ``said_by`` is what messages call the place that ``osversion`` was given in. ``table`` is the
    one that comes with kpatch unless given. Raises SignatureError where that
    table is broken, nothing else.
    """
    known = table if table is not None else builtin_table()
    weighed = weigh(claims_of(module, known, osversion, kernel, said_by), known)
    own = own_layout(kernel, weighed, known)
    return Detection(
        candidates=weighed.candidates,
        versions=weighed.versions,
        evidence=(
            *weighed.evidence,
            *_remarks(kernel),
            *own.evidence,
            *_table_says(weighed, own),
            *_conclusion(weighed),
        ),
        conflicts=(*weighed.conflicts, *own.conflicts),
        not_affected=_not_affected(weighed, kernel, own),
        uncovered=weighed.uncovered,
        exact=own.layout,
        own_gdt=own.gdt,
    )


def _not_affected(weighed: Weighed, kernel: KernelFile | None, own: OwnLayout) -> str | None:
    if kernel is not None and kernel.architecture == "i386":
        return f"{kernel.name} is an i386 kernel, and i386 gives every CPU a GDT of its own"
    if any(conflict.matters for conflict in (*weighed.conflicts, *own.conflicts)):
        return None
    if kernel is not None and own.gdt == "private":
        return f"init_secondary of {kernel.name} gives every CPU a GDT of its own"
    if not weighed.names_kernel:
        return None
    if not weighed.candidates or any(k.gdt != "private" for k in weighed.candidates):
        return None
    named = weighed.candidates[0]
    return (
        f"FreeBSD {weighed.versions[0]} ({named.name}) gives every CPU a GDT of its own "
        f"({named.gdt_confidence}: {named.source})"
    )


def _remarks(kernel: KernelFile | None) -> Iterator[Evidence]:
    """What a kernel file says beside its version."""
    if kernel is None:
        return
    if kernel.architecture != "amd64":
        yield _word("--kernel", f"{kernel.name} is for {kernel.architecture}", "not affected")
    elif not kernel.has_common_tss:
        yield _word(
            "--kernel",
            f"{kernel.name} has no symbol common_tss",
            "this kernel will refuse to load a patched module",
        )


def _table_says(weighed: Weighed, own: OwnLayout) -> Iterator[Evidence]:
    """What the table says of all kernels that are left, and how sure it is of the least sure.

    Not where the kernel's own file says it.
    """
    kernels = weighed.candidates
    gdts, offsets = {kernel.gdt for kernel in kernels}, {kernel.cpuid for kernel in kernels}
    if len(gdts) == 1 and own.gdt is None:
        sure = _least(kernel.gdt_confidence for kernel in kernels)
        yield _word("kernel table", _of(kernels), f"the GDT is {gdts.pop()}", sure=sure)
    offset = offsets.pop() if len(offsets) == 1 and own.layout is None else None
    if offset is not None:
        sure = _least(kernel.pcpu_confidence or CONFIDENCES[-1] for kernel in kernels)
        yield _word("kernel table", _of(kernels), f"cpuid is at %gs:{offset:#x}", sure=sure)


def _least(confidences: Iterable[Confidence]) -> Confidence:
    return max(confidences, key=CONFIDENCES.index)


def _of(kernels: Sequence[Kernel]) -> str:
    return f"FreeBSD {_names(kernels)}"


def _conclusion(weighed: Weighed) -> Iterator[Evidence]:
    """The doubt that is left, and why it does not matter, where it does not."""
    kernels = weighed.candidates
    if len(kernels) < 2 and not any(kernel.gdt == "ambiguous" for kernel in kernels):
        return
    if len({kernel.cpuid for kernel in kernels}) > 1:
        means = "cpuid lies at different places in them, so a patch needs to know which"
    elif len({kernel.gdt for kernel in kernels}) > 1 or kernels[0].gdt == "ambiguous":
        means = "the GDT may be shared or private; the patch is right on both"
    else:
        means = "any of them; the patch is the same for all"
    yield _word("conclusion", _of(kernels), means, weighed.versions)


def _word(
    source: Literal["--kernel", "kernel table", "conclusion"],
    seen: str,
    means: str,
    versions: Versions = (),
    *,
    sure: Confidence | None = None,
) -> Evidence:
    return Evidence(source, seen, means, versions, confidence=sure)


def _unsettled(what: str) -> KernelUnknownError:
    return KernelUnknownError(what, todo=_SETTLES, option="--osversion")


def _doubt(kernels: Sequence[Kernel]) -> str:
    """Why there is no one offset of cpuid."""
    if len(kernels) == 1:
        only = kernels[0]
        return f"where struct pcpu keeps cpuid is not known for FreeBSD {only.name} ({only.source})"
    by_offset: dict[int | None, list[Kernel]] = {}
    for kernel in kernels:
        by_offset.setdefault(kernel.cpuid, []).append(kernel)
    places = " or ".join(
        f"{'an unknown offset' if offset is None else hex(offset)} (FreeBSD {_names(group)})"
        for offset, group in by_offset.items()
    )
    return f"the module does not say which kernel it is for; struct pcpu has cpuid at {places}"


def _names(kernels: Sequence[Kernel]) -> str:
    if len(kernels) == 1:
        return kernels[0].name
    return f"{kernels[0].name} to {kernels[-1].name}"
