"""The kernels of ``signatures/kernels.toml`` in words: what ``kpatch explain 8-CURRENT`` says."""

from __future__ import annotations

from typing import Final

from kpatch.kernel.kernels import Kernel, builtin_table

_GDT: Final = {
    "shared": "all CPUs share one GDT, so the bug shows",
    "private": "every CPU has a GDT of its own, so the bug cannot show",
    "ambiguous": "some kernels of this number share one GDT, and have the bug, others do not",
}


def kernel_terms() -> dict[str, str]:
    """What there is to say of each kernel by its name, of those whose names begin alike together,
    and of each place of cpuid, as ``%gs:0x34``.
    """
    names: dict[str, list[str]] = {}
    places: dict[str, list[str]] = {}
    for kernel in builtin_table().kernels:
        for name in dict.fromkeys((kernel.name.lower(), kernel.name.lower().split()[0])):
            names.setdefault(name, []).append(_sentences(kernel))
        if kernel.cpuid is not None:
            places.setdefault(f"%gs:{kernel.cpuid:#x}", []).append(kernel.name)
    found = {name: " ".join(each) for name, each in names.items()}
    return found | {
        place: f"Where these kernels keep the number of the CPU that runs (see 'cpuid'): "
        f"{', '.join(kernels)}."
        for place, kernels in places.items()
    }


def kernel_of(number: str) -> str | None:
    """What there is to say of the kernel with a ``__FreeBSD_version``; None for what is none."""
    if not number.isdecimal() or len(number) > len("9999999"):
        return None
    rows = (each for each in builtin_table().kernels if int(number) in each.versions)
    kernel = next(rows, None)
    return None if kernel is None else f"A __FreeBSD_version. {_sentences(kernel)}"


def _sentences(kernel: Kernel) -> str:
    cpuid = "is not known" if kernel.cpuid is None else f"is at %gs:{kernel.cpuid:#x}"
    return (
        f"FreeBSD {kernel.name}, __FreeBSD_version {kernel.versions}: {_GDT[kernel.gdt]} "
        f"({kernel.gdt_confidence}); cpuid {cpuid}, TR is {kernel.tr_selector:#x}."
    )
