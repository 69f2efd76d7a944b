"""Programs of the system that judge our results."""

from __future__ import annotations

import shutil
from typing import Final

import pytest

REFEREES: Final = frozenset(
    {
        *("ar", "as", "elfedit", "gcc", "ld", "nm", "objcopy", "objdump", "readelf", "strip"),
        *("bsdtar", "bzip2", "gzip", "tar", "xz", "zstd"),
        *("bash", "chromium", "chromedriver", "fish", "zsh"),
        *("bmake", "bochs", "make", "mandoc", "md5sum", "qemu-system-x86_64", "sha256sum"),
    }
)


def require(*programs: str, whole_module: bool = False) -> None:
    """Skip the test (or the whole module, while it is imported) where a program is missing.

    A run that is to count, such as .ci/run, fails if anything was skipped.
    """
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed", allow_module_level=whole_module)
