"""What the user says of the host kernel: its version, its file, both or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kpatch.kernel.kernelfile import KernelFile


class Host(NamedTuple):
    """``osversion`` is a ``__FreeBSD_version`` (700055), ``kernel`` a kernel file that was read.

    ``said_by`` is what messages call the place that the version was given in.
    """

    osversion: int | None = None
    kernel: KernelFile | None = None
    said_by: str = "--osversion"

    @property
    def is_given(self) -> bool:
        """True if the user said anything."""
        return self.osversion is not None or self.kernel is not None


UNKNOWN_HOST: Final = Host()
"""For a user who says nothing: then the module's own traces decide."""

SELECTOR_TO_7: Final = 0x30
"""What TR holds up to FreeBSD 7.3 (GPROC0_SEL in sys/amd64/include/segments.h)."""

SELECTOR_OF_8: Final = 0x48
"""What it holds in 8.x."""

SELECTORS: Final = (SELECTOR_TO_7, SELECTOR_OF_8)
