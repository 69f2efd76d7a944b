"""How fast scan goes over a large object."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from benchmarks.measure import SAMPLE, kpatch, least, sized
from kpatch.elf import constants as elf
from kpatch.elf.edits import NewSection
from kpatch.elf.module import read_module
from tests.editing import append

_MEGABYTES = sized(32, 4)
_ROUNDS = sized(3, 1)


def main() -> None:
    """Print the rate in MB/s, start-up taken off."""
    module = read_module(SAMPLE.read_bytes())
    text = module.section_named(".text")
    code = module.contents(text) if text else b""
    generator = random.Random(1)
    noise = generator.randbytes(1 << 20)
    # Half real code, half noise: both have their share of bytes that look like str and ltr.
    block = (code * (1 + (1 << 20) // max(1, len(code))))[: 1 << 20] + noise
    contents = (block * _MEGABYTES)[: _MEGABYTES << 20]
    large = append(
        module,
        sections=[NewSection(".data.large", elf.SHT_PROGBITS, elf.SHF_ALLOC, 16, contents)],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.ko")
        path.write_bytes(large)
        costs = least({"small": kpatch("scan", SAMPLE), "large": kpatch("scan", path)}, _ROUNDS)
    seconds = costs["large"].wall - costs["small"].wall
    print(f"scan of {len(large) / 1e6:.0f} MB: {costs['large'].wall:.2f} s, start-up taken off:")
    print(f"{(len(large) - len(module.data)) / 1e6 / seconds:.0f} MB/s")
