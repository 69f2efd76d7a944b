"""The monitor image: linked on its own, flattened, and written out as a C array."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import MONITOR_FLAGS, compile_source, run

LAYOUT_SOURCES = ("nexus.S", "monitor.c")
OTHER_SOURCES = ("traps.S", "interpreter.c", "screen.c", "text.c")
HEADER_WORDS = 5


@dataclass(frozen=True)
class Image:
    """A flat image and where its marks are, as offsets into it."""

    contents: bytes
    marks: dict[str, int]

    @property
    def header(self) -> tuple[int, ...]:
        """The five offsets at the start of the image."""
        return struct.unpack_from(f"<{HEADER_WORDS}I", self.contents)


def compile_common(source: Path, work: Path) -> list[Path]:
    """Compile what every image has alike: the sources that do not see ``state.h``."""
    return [
        compile_source(source / name, work / f"{name}.o", MONITOR_FLAGS, (source,))
        for name in OTHER_SOURCES
    ]


def build_image(
    source: Path, work: Path, defines: tuple[str, ...], common: Sequence[Path]
) -> Image:
    """Compile the rest against the ``state.h`` in ``work`` and link the image."""
    objects = [
        compile_source(
            source / name, work / f"{name}.o", (*MONITOR_FLAGS, *defines), (work, source)
        )
        for name in LAYOUT_SOURCES
    ]
    linked, flat = work / "monitor.elf", work / "monitor.bin"
    script = source / "monitor.lds"
    run("ld", "-z", "noexecstack", "-T", script, "-o", linked, *objects, *common, cwd=work)
    run("objcopy", "-O", "binary", linked, flat, cwd=work)
    return Image(flat.read_bytes(), _marks(run("nm", linked, cwd=work)))


def array_source(contents: bytes, name: str, qualifiers: str) -> str:
    """Return C that defines the image as an array of bytes."""
    lines = [
        "\t" + "".join(f"{byte}," for byte in contents[start : start + 32])
        for start in range(0, len(contents), 32)
    ]
    body = "\n".join(lines)
    return f"{qualifiers} u8 {name}[{len(contents)}] = {{\n{body}\n}};\n"


def _marks(listing: str) -> dict[str, int]:
    addresses = {}
    for line in listing.splitlines():
        address, _, name = line.split()
        addresses[name] = int(address, 16)
    start = addresses["image_start"]
    return {name: address - start for name, address in addresses.items()}
