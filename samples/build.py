#!/usr/bin/env python3
"""Build the sample modules from samples/src with gcc, as, ld and objcopy.

    python3 samples/build.py [FOLDER]

Writes the modules and MANIFEST.toml to FOLDER (default: the folder of this file). The result
depends on the sources and on the versions of the tools, and on nothing else.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import manifest
from image import Image, array_source, build_image
from state import header
from toolchain import KERNEL_FLAGS, BuildError, compile_source, for_freebsd, run, without_plt32
from variants import VARIANTS, Shape, Variant

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "src"
COMPRESSED = "kqemu-7.ko"


def main(arguments: list[str]) -> int:
    """Build everything into the folder given, or beside this file."""
    target = Path(arguments[0]) if arguments else HERE
    target.mkdir(parents=True, exist_ok=True)
    try:
        build_all(target)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_all(target: Path) -> None:
    """Write every sample and the manifest into ``target``."""
    entries = []
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            data, image = build(variant, Path(folder))
        (target / variant.file).write_bytes(data)
        entries.append(manifest.entry(variant, data, image))
        if variant.file == COMPRESSED:
            packed = gzip.compress(data, mtime=0)
            (target / f"{COMPRESSED}.gz").write_bytes(packed)
            entries.append(manifest.compressed_entry(variant, packed))
    (target / "MANIFEST.toml").write_text(manifest.text(entries))


def build(variant: Variant, work: Path) -> tuple[bytes, Image | None]:
    """Build one sample in an empty folder. Return the module, and its image if it has one."""
    (work / "state.h").write_text(header(variant.offsets))
    image = build_image(SOURCE, work, variant.image_defines)
    (work / "monitor_image.h").write_text(array_source(image.contents, "monitor_code", variant.array))
    return link_module(variant, work), image


def link_module(variant: Variant, work: Path) -> bytes:
    """Compile the kernel side and link it with ``ld -r``, as a FreeBSD module makefile does."""
    objects = []
    for name in ("core.c", "front.c"):
        made = compile_source(
            SOURCE / name, work / f"{name}.o",
            (*KERNEL_FLAGS, *variant.flags, *variant.defines), (work, SOURCE),
        )  # fmt: skip
        made.write_bytes(without_plt32(made.read_bytes()))
        objects.append(made)
    linked = work / "linked.o"
    run("ld", "-r", "-o", linked, *objects, cwd=work)
    return for_freebsd(linked.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
