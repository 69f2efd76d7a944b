"""Which samples there are, what each one shows, and what kpatch is to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from state import COMMON_OFFSETS, JUMP_OFFSETS, NEAR_OFFSETS, OTHER_OFFSETS


class Shape(Enum):
    """The system and the driver that a sample is built as."""

    KQEMU = "kqemu for FreeBSD/amd64"
    LINUX = "kqemu for Linux/amd64"
    I386 = "kqemu for FreeBSD/i386"
    OTHER = "another driver for FreeBSD/amd64"


@dataclass(frozen=True)
class Variant:
    """One sample.

    ``verdict`` is scan's word for it, ``apply_exit`` the exit code of apply. ``cpuid`` is the
    offset of that field in the kernel's ``struct pcpu``, None where the file does not tell.
    ``array`` are the C qualifiers of the embedded image, ``copies`` how often it is there;
    ``cut`` ends it inside the exit routine, ``relocated_site`` puts a relocation on the exit site.
    ``extra`` are further sources, ``compiler`` makes the kernel side.
    ``symbols_split`` moves the debug information to another file.
    """

    file: str
    shows: str
    verdict: str = "affected"
    apply_exit: int = 0
    cpuid: int | None = 0x34
    shape: Shape = Shape.KQEMU
    defines: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=lambda: COMMON_OFFSETS)
    image_defines: tuple[str, ...] = ()
    array: str = "static const"
    copies: int = 1
    cut: bool = False
    relocated_site: bool = False
    stripped: bool = False
    compiler: str = "gcc"
    symbols_split: bool = False


ON_6 = ("-DSAMPLE_SCHED_LOCK",)
ON_7 = ("-DSAMPLE_THREAD_LOCK", "-DSAMPLE_DESTROY_SCHED")
ON_8 = (*ON_7, "-DSAMPLE_DEPENDS_ON_KERNEL=800040")

NO_TABLES = ("-fno-jump-tables", "-fno-tree-switch-conversion")
"""Keeps GCC from putting addresses into .rodata."""

MORE_SECTIONS = ("-fasynchronous-unwind-tables", "-g1", "-Wa,-mx86-used-note=yes")

FOR_LINUX = (
    "-Dmalloc=kqemu_vmalloc",
    "-Dfree=kqemu_vfree",
    "-Dpmap_kextract=kqemu_physical",
    "-Dprintf=printk",
)

VARIANTS = (
    Variant(
        "kqemu-7.ko",
        "the common case: FreeBSD 7, array in .rodata, local symbol",
        defines=ON_7,
    ),
    Variant("kqemu-6.ko", "FreeBSD 6: sched_lock", cpuid=0x3C, defines=ON_6),
    Variant("kqemu-8.ko", "FreeBSD 8-CURRENT: depends on kernel 800040", defines=ON_8),
    Variant("kqemu-7-global.ko", "the array has a global symbol", defines=ON_7, array="const"),
    Variant("kqemu-7-data.ko", "the array is in .data", defines=ON_7, array=""),
    Variant(
        "kqemu-7-norela.ko",
        "the section of the array has no relocations",
        defines=ON_7,
        flags=NO_TABLES,
    ),
    Variant(
        "kqemu-7-stripped.ko",
        "local symbols are stripped, that of the array among them",
        defines=ON_7,
        stripped=True,
    ),
    Variant(
        "kqemu-7-offsets.ko",
        "another layout of the state: other displacements, other lengths",
        defines=ON_7,
        offsets=OTHER_OFFSETS,
    ),
    Variant(
        "kqemu-7-near.ko",
        "a field of the state at displacement 0: the shortest entry site",
        defines=ON_7,
        offsets=NEAR_OFFSETS,
    ),
    Variant(
        "kqemu-7-jump.ko",
        "the exit goes on where a field of the state says",
        defines=(*ON_7, "-DSAMPLE_HOST_JUMP"),
        offsets=JUMP_OFFSETS,
        image_defines=("-DSAMPLE_HOST_JUMP",),
    ),
    Variant(
        "kqemu-7-nodr7.ko",
        "a switch that leaves DR7 alone",
        defines=ON_7,
        image_defines=("-DSAMPLE_NO_DR7",),
    ),
    Variant(
        "kqemu-7-pushes.ko",
        "the switch saves the registers in another order",
        defines=ON_7,
        image_defines=("-DSAMPLE_OTHER_PUSHES",),
    ),
    Variant(
        "kqemu-7-ehframe.ko",
        "more sections: .eh_frame, .note.gnu.property, .gnu_debuglink",
        defines=ON_7,
        flags=MORE_SECTIONS,
        symbols_split=True,
    ),
    Variant(
        "kqemu-7-fix-a.ko",
        "carries source fix A, kqemu_tss_workaround",
        verdict="fixed-by-source",
        apply_exit=14,
        defines=(*ON_7, "-DSAMPLE_FIX_AFTER=kqemu_tss_workaround"),
        extra=("tss_slot.c",),
    ),
    Variant(
        "kqemu-7-fix-b.ko",
        "carries source fix B, kqemu_tss_fixup after the switch",
        verdict="fixed-by-source",
        apply_exit=14,
        defines=(*ON_7, "-DSAMPLE_FIX_AFTER=kqemu_tss_fixup"),
        extra=("tss_slot.c",),
    ),
    Variant(
        "kqemu-6-fix-a.ko",
        "source fix A in a build for FreeBSD 6",
        verdict="fixed-by-source",
        apply_exit=14,
        cpuid=0x3C,
        defines=(*ON_6, "-DSAMPLE_CPUID=0x3c", "-DSAMPLE_FIX_AFTER=kqemu_tss_workaround"),
        extra=("tss_slot.c",),
    ),
    Variant(
        "kqemu-7-fix-a-clang.ko",
        "source fix A, compiled by clang",
        verdict="fixed-by-source",
        apply_exit=14,
        defines=(*ON_7, "-DSAMPLE_FIX_AFTER=kqemu_tss_workaround"),
        extra=("tss_slot.c",),
        compiler="clang",
    ),
    Variant(
        "kqemu-6-fix-b-clang.ko",
        "source fix B in a build for FreeBSD 6, compiled by clang",
        verdict="fixed-by-source",
        apply_exit=14,
        cpuid=0x3C,
        defines=(*ON_6, "-DSAMPLE_CPUID=0x3c", "-DSAMPLE_FIX_AFTER=kqemu_tss_fixup"),
        extra=("tss_slot.c",),
        compiler="clang",
    ),
    Variant(
        "kqemu-7-fix-c.ko",
        "carries source fix C, kqemu_tss_fixup before the switch",
        verdict="fixed-by-source",
        apply_exit=14,
        defines=(*ON_7, "-DSAMPLE_FIX_BEFORE=kqemu_tss_fixup"),
        extra=("tss_own_gdt.c",),
    ),
    Variant(
        "kqemu-7-ambiguous.ko",
        "nothing tells FreeBSD 6 from 7",
        apply_exit=15,
        cpuid=None,
    ),
    Variant(
        "kqemu-7-twice.ko",
        "two complete images: two matches",
        verdict="unknown-build",
        apply_exit=12,
        defines=ON_7,
        copies=2,
    ),
    Variant(
        "kqemu-7-sitereloc.ko",
        "a relocation lies on the exit site",
        verdict="unknown-build",
        apply_exit=12,
        defines=ON_7,
        extra=("tr_offset.S",),
        relocated_site=True,
    ),
    Variant(
        "kqemu-7-cut.ko",
        "the image is cut off inside the exit routine",
        verdict="unknown-build",
        apply_exit=12,
        defines=ON_7,
        flags=NO_TABLES,
        cut=True,
    ),
    Variant(
        "kqemu-unknown.ko",
        "kqemu, but its exit routine is none that is known",
        verdict="unknown-build",
        apply_exit=12,
        defines=ON_7,
        image_defines=("-DSAMPLE_OTHER_EXIT",),
    ),
    Variant(
        "kqemu-i386.ko",
        "FreeBSD/i386",
        verdict="not-affected",
        apply_exit=13,
        cpuid=None,
        shape=Shape.I386,
    ),
    Variant(
        "kqemu-linux.ko",
        "Linux/amd64",
        verdict="not-affected",
        apply_exit=13,
        cpuid=None,
        shape=Shape.LINUX,
        defines=FOR_LINUX,
    ),
    Variant(
        "other.ko",
        "a FreeBSD driver that is not kqemu",
        verdict="not-kqemu",
        apply_exit=11,
        cpuid=None,
        shape=Shape.OTHER,
    ),
)
