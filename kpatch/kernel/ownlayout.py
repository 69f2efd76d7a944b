"""What a kernel file with debugging information proves, against what the table says."""

from __future__ import annotations

from typing import NamedTuple

from kpatch.kernel.kernelfile import KernelFile
from kpatch.kernel.kernels import KernelTable
from kpatch.kernel.weigh import Conflict, Evidence, Weighed

_MASK_DISTANCE = 4
"""The patch's guard reads the mask as the u32 behind cpuid."""


class HostLayout(NamedTuple):
    """What a patch must know of the host, in bytes.

    ``cpuid`` is the offset of that field in ``struct pcpu``, ``tss_stride`` the distance from
    one element of ``common_tss`` to the next.
    """

    cpuid: int
    tss_stride: int


class OwnLayout(NamedTuple):
    """The layout that the file proves, if it does; the evidence for it, and what contradicts it."""

    layout: HostLayout | None = None
    evidence: tuple[Evidence, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def own_layout(kernel: KernelFile | None, weighed: Weighed, table: KernelTable) -> OwnLayout:
    """Read the layout out of a kernel file's debugging information, if it has any.

    Where the table says something else of the kernels that are left, both are named in a conflict
    that matters; so is a mask that is not where the patch looks for it.
    """
    info = kernel.debug_info if kernel is not None else None
    if kernel is None or info is None:
        return OwnLayout()
    strides = {each.tss_stride for each in table.kernels}
    stride = info.tss_stride or (strides.pop() if len(strides) == 1 else None)
    seen = f"struct pcpu of {kernel.name} has pc_cpuid at {info.cpuid:#x}"
    means = [f"elements of common_tss have {stride} bytes"] if info.tss_stride else []
    means += [f"MAXCPU is {info.tss_count}"] if info.tss_count else []
    word = Evidence(
        "--kernel", seen, "; ".join(["its debugging information says so", *means]), (), "proven"
    )
    problems = []
    known = {candidate.cpuid for candidate in weighed.candidates if candidate.cpuid is not None}
    if known and info.cpuid not in known:
        names = ", ".join(candidate.name for candidate in weighed.candidates)
        places = " or ".join(hex(each) for each in sorted(known))
        problems.append(f"{seen}, but the kernel table has it at {places} in FreeBSD {names}")
    if info.cpumask != info.cpuid + _MASK_DISTANCE:
        mask = "no pc_cpumask" if info.cpumask is None else f"pc_cpumask at {info.cpumask:#x}"
        problems.append(f"{seen} and {mask}, but the patch needs it 4 bytes behind")
    if stride is None:
        problems.append(f"{kernel.name} does not say how long the elements of common_tss are")
    conflicts = tuple(Conflict(problem, matters=True, in_module=False) for problem in problems)
    layout = None if stride is None or conflicts else HostLayout(info.cpuid, stride)
    return OwnLayout(layout, (word,), conflicts)
