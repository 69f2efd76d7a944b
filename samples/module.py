"""The kernel side of a sample: compiled, linked with ``ld -r`` and finished as a module."""

from __future__ import annotations

from pathlib import Path

from toolchain import (
    I386_FLAGS,
    KERNEL_FLAGS,
    compile_source,
    for_freebsd,
    run,
    without_paths,
    without_plt32,
)
from variants import Shape, Variant

SOURCES = {
    Shape.KQEMU: ("core.c", "front.c"),
    Shape.LINUX: ("core.c", "linux.c"),
    Shape.I386: ("i386.c",),
    Shape.OTHER: ("other.c",),
}


def build_module(variant: Variant, source: Path, work: Path) -> bytes:
    """Return the module, as the makefile of a FreeBSD module of that time leaves it."""
    names = [*SOURCES[variant.shape], *variant.extra]
    if variant.cut:
        names.reverse()  # nothing may follow the image in its section
    objects = [_compile(variant, source / name, work) for name in names]
    linked = work / "kqemu.ko"
    machine = "elf_i386" if variant.shape is Shape.I386 else "elf_x86_64"
    run("ld", "-m", machine, "-r", "-o", linked, *objects, cwd=work)
    if variant.stripped:
        run("strip", "--strip-unneeded", linked, cwd=work)
    if variant.symbols_split:
        _split_symbols(linked, work)
    data = linked.read_bytes()
    return data if variant.shape is Shape.LINUX else for_freebsd(data)


def _compile(variant: Variant, file: Path, work: Path) -> Path:
    flags = I386_FLAGS if variant.shape is Shape.I386 else KERNEL_FLAGS
    folders = (work, file.parent)
    made = compile_source(
        file,
        work / f"{file.name}.o",
        (*flags, *without_paths(*folders), *variant.flags, *variant.defines),
        folders,
        variant.compiler,
    )
    if variant.shape is not Shape.I386:
        made.write_bytes(without_plt32(made.read_bytes()))
    return made


def _split_symbols(linked: Path, work: Path) -> None:
    """Move the debug information to ``kqemu.ko.symbols`` and name that in the module."""
    symbols = f"{linked.name}.symbols"
    run("objcopy", "--only-keep-debug", linked.name, symbols, cwd=work)
    run("objcopy", "--strip-debug", f"--add-gnu-debuglink={symbols}", linked.name, cwd=work)
