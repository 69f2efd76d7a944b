"""The shipped samples and what their manifest says of them."""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path
from typing import Any, Final

from kpatch.elf.module import Module, read_module

SAMPLES: Final = Path(__file__).parents[2] / "samples"

MANIFEST: Final[dict[str, dict[str, Any]]] = {
    entry["file"]: entry
    for entry in tomllib.loads((SAMPLES / "MANIFEST.toml").read_text())["sample"]
}

WITH_SITES: Final = sorted(name for name, entry in MANIFEST.items() if "exit_site" in entry)

BASE: Final = sorted(name for name, entry in MANIFEST.items() if entry["verdict"] == "affected")
"""The samples that are whole modules of a known build."""


def contents(name: str, folder: Path = SAMPLES) -> bytes:
    """The module in a sample's file, compressed or not."""
    data = (folder / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def module(name: str, folder: Path = SAMPLES) -> Module:
    """A sample, read."""
    return read_module(contents(name, folder), name)
