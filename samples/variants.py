"""Which samples there are, what each one shows, and what kpatch is to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from state import COMMON_OFFSETS, OTHER_OFFSETS


class Shape(Enum):
    """What is built around the sources."""

    KQEMU = "FreeBSD/amd64 module with a monitor image"
    I386 = "FreeBSD/i386 module"
    LINUX = "Linux/amd64 module"
    OTHER = "FreeBSD/amd64 module of another driver"


@dataclass(frozen=True)
class Variant:
    """One sample. ``verdict`` is scan's word for it, ``apply_exit`` the exit code of apply."""

    file: str
    shows: str
    verdict: str = "affected"
    apply_exit: int = 0
    cpuid: int | None = 0x34
    shape: Shape = Shape.KQEMU
    offsets: Mapping[str, int] = field(default_factory=lambda: COMMON_OFFSETS)
    array: str = "static const"
    defines: tuple[str, ...] = ()
    image_defines: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    fix: str = ""
    copies: int = 1
    cut: bool = False
    relocated_site: bool = False
    stripped: bool = False
    more_sections: bool = False


ON_6 = ("-DSAMPLE_SCHED_LOCK",)
ON_7 = ("-DSAMPLE_THREAD_LOCK", "-DSAMPLE_DESTROY_SCHED")
ON_8 = (*ON_7, "-DSAMPLE_CDEVSW_VERSION=D_VERSION_28042009", "-DSAMPLE_DEPENDS_ON_KERNEL=800040")

VARIANTS = (
    Variant("kqemu-7.ko", "the common case: FreeBSD 7, array in .rodata, local symbol", defines=ON_7),
)
