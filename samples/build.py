#!/usr/bin/env python3
"""Build the sample modules from samples/src with gcc, as, ld and objcopy.

    python3 samples/build.py [FOLDER]

Writes the modules and MANIFEST.toml to FOLDER (default: the folder of this file). The result
depends on the sources and on the versions of the tools, and on nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from pathlib import Path

import manifest
from image import Image, array_source, build_image, compile_common
from module import build_module
from state import header
from toolchain import BuildError
from variants import VARIANTS, Shape, Variant

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "src"
COMPRESSED = "kqemu-7.ko"
WITH_IMAGE = (Shape.KQEMU, Shape.LINUX)


def main(arguments: list[str]) -> int:
    """Build everything into the folder given, or beside this file."""
    parser = argparse.ArgumentParser(description="Build every sample, and the manifest.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    target = parser.parse_args(arguments).folder
    target.mkdir(parents=True, exist_ok=True)
    try:
        build_all(target)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_all(target: Path) -> None:
    """Write every sample and the manifest into ``target``. :raises BuildError: from a tool."""
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        images = Images(Path(folder))
        for variant in VARIANTS:
            image = images.of(variant)
            data = build(variant, image, Path(folder) / variant.file)
            (target / variant.file).write_bytes(data)
            entries.append(manifest.entry(variant, data, image))
            if variant.file == COMPRESSED:
                packed = bytearray(gzip.compress(data, mtime=0))
                packed[9] = 3  # the system, Unix: Python 3.13 says that it is unknown
                (target / f"{COMPRESSED}.gz").write_bytes(packed)
                entries.append(manifest.compressed_entry(variant, bytes(packed)))
    (target / "MANIFEST.toml").write_text(manifest.text(entries))


class Images:
    """The monitor images, each built once: most samples share one."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._common = compile_common(SOURCE, work)
        self._built: dict[tuple[str, tuple[str, ...]], Image] = {}

    def of(self, variant: Variant) -> Image | None:
        """The image of a sample, None where it has none."""
        if variant.shape not in WITH_IMAGE:
            return None
        key = (header(variant.offsets), variant.image_defines)
        if key not in self._built:
            folder = self._work / f"image-{len(self._built)}"
            folder.mkdir()
            (folder / "state.h").write_text(key[0])
            self._built[key] = build_image(SOURCE, folder, variant.image_defines, self._common)
        return self._built[key]


def build(variant: Variant, image: Image | None, work: Path) -> bytes:
    """Build one sample in ``work``, a new folder, and return the module."""
    work.mkdir()
    if image is not None:
        (work / "state.h").write_text(header(variant.offsets))
        (work / "monitor_image.h").write_text(_arrays(variant, image))
    return build_module(variant, SOURCE, work)


def _arrays(variant: Variant, image: Image) -> str:
    contents = image.contents
    if variant.cut:
        contents = contents[: image.marks["exit_site"] + CUT_INSIDE]
    text = array_source(contents, "monitor_code", variant.array)
    for copy in range(1, variant.copies):
        qualifiers = f"{variant.array} __attribute__((used))"
        text += array_source(contents, f"monitor_code_{copy}", qualifiers)
    if variant.relocated_site:
        place = image.marks["exit_site"] + SELECTOR_DISPLACEMENT
        text += f"""__asm__(".pushsection .rodata\\n"
    ".reloc monitor_code+{place}, R_X86_64_32S, kqemu_tr_offset\\n"
    ".popsection");
"""
    return text


CUT_INSIDE = 12
"""Bytes of the exit site that the cut leaves."""

SELECTOR_DISPLACEMENT = 3
"""Where the displacement of ``mov disp32(%rdi), %ax`` begins: prefix, opcode and ModRM precede."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
