"""What a kernel file proves, by its debugging information and its code, against the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kpatch.kernel.kernels import KernelTable, OneGdt
from kpatch.kernel.weigh import Conflict, Evidence, Weighed
from kpatch.units import counted

# Only named in annotations: most calls name no kernel file.
if TYPE_CHECKING:
    from kpatch.kernel.kernelfile import KernelFile

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
    """What the file proves, if it does; the evidence for it, and what contradicts it."""

    layout: HostLayout | None = None
    gdt: OneGdt | None = None
    evidence: tuple[Evidence, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def own_layout(kernel: KernelFile | None, weighed: Weighed, table: KernelTable) -> OwnLayout:
    """What a kernel file says of itself, by its debugging information and by its code.

    Where the table says something else of the kernels that are left, both are named in a conflict
    that matters; so is a mask that is not where the patch looks for it.
    """
    if kernel is None:
        return OwnLayout()
    layout = _by_debug_info(kernel, weighed, table)
    gdt = _gdt_by_code(kernel, weighed)
    numbers = _numbers_by_code(kernel, weighed)
    return OwnLayout(
        layout.layout,
        gdt.gdt,
        (*layout.evidence, *gdt.evidence, *numbers.evidence),
        (*layout.conflicts, *gdt.conflicts, *numbers.conflicts),
    )


def _by_debug_info(kernel: KernelFile, weighed: Weighed, table: KernelTable) -> OwnLayout:
    info = kernel.debug_info
    if info is None:
        return OwnLayout()
    strides = {each.tss_stride for each in table.kernels}
    stride = info.tss_stride or (strides.pop() if len(strides) == 1 else None)
    seen = f"struct pcpu of {kernel.name} has pc_cpuid at {info.cpuid:#x}"
    means = (
        [f"elements of common_tss have {counted(info.tss_stride, 'byte')}"]
        if info.tss_stride
        else []
    )
    means += [f"MAXCPU is {info.tss_count}"] if info.tss_count else []
    word = Evidence(
        "--kernel", seen, "; ".join(["its debugging information says so", *means]), (), "proven"
    )
    problems = []
    known = {candidate.cpuid for candidate in weighed.candidates if candidate.cpuid is not None}
    if known and info.cpuid not in known:
        names = ", ".join(candidate.name for candidate in weighed.candidates)
        places = " or ".join(hex(offset) for offset in sorted(known))
        problems.append(f"{seen}, but the kernel table has it at {places} in FreeBSD {names}")
    if info.cpumask != info.cpuid + _MASK_DISTANCE:
        mask = "no pc_cpumask" if info.cpumask is None else f"pc_cpumask at {info.cpumask:#x}"
        problems.append(f"{seen} and {mask}, but the patch needs it 4 bytes behind")
    if stride is None:
        problems.append(f"{kernel.name} does not say how long the elements of common_tss are")
    conflicts = tuple(Conflict(problem, matters=True, in_module=False) for problem in problems)
    layout = None if stride is None or conflicts else HostLayout(info.cpuid, stride)
    return OwnLayout(layout, None, (word,), conflicts)


def _gdt_by_code(kernel: KernelFile, weighed: Weighed) -> OwnLayout:
    gdt = kernel.code.gdt if kernel.code is not None else None
    if gdt is None:
        return OwnLayout()
    what = "one GDT for all CPUs" if gdt == "shared" else "a GDT of its own on every CPU"
    seen = f"init_secondary of {kernel.name} loads {what}"
    word = Evidence("--kernel", seen, "its own code says so", (), "proven")
    kinds = {candidate.gdt for candidate in weighed.candidates} - {"ambiguous"}
    if kinds and gdt not in kinds:
        names = ", ".join(candidate.name for candidate in weighed.candidates)
        said = f"{seen}, but the kernel table says that FreeBSD {names} has a {kinds.pop()} one"
        return OwnLayout(None, gdt, (word,), (_contradiction(said),))
    return OwnLayout(None, gdt, (word,))


def _numbers_by_code(kernel: KernelFile, weighed: Weighed) -> OwnLayout:
    """Whether the kernel's code reads cpuid where it should be."""
    seen = dict(kernel.code.cpu_numbers) if kernel.code is not None else {}
    if not seen:
        return OwnLayout()
    info = kernel.debug_info
    if info is not None:
        wanted, whose = {info.cpuid}, "its debugging information"
    else:
        wanted = {
            candidate.cpuid for candidate in weighed.candidates if candidate.cpuid is not None
        }
        whose = "the kernel table"
    if not wanted:
        return OwnLayout()
    found = wanted & set(seen)
    if not found:
        read = " and ".join(f"%gs:{offset:#x}" for offset in sorted(seen))
        places = " or ".join(hex(offset) for offset in sorted(wanted))
        said = f"the code of {kernel.name} takes {read} as a CPU's number, but {whose} has cpuid at"
        return OwnLayout(conflicts=(_contradiction(f"{said} {places}"),))
    words = (
        Evidence(
            "--kernel",
            f"the code of {kernel.name} takes %gs:{offset:#x} as a CPU's number",
            f"{counted(seen[offset], 'time')}, as {whose} has it",
            (),
            "proven",
        )
        for offset in sorted(found)
    )
    return OwnLayout(evidence=tuple(words))


def _contradiction(what: str) -> Conflict:
    return Conflict(what, matters=True, in_module=False)
