"""Small object files and kernels, compiled here from C that looks like the real thing."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from kpatch.elf.module import Module, read_module

_CFLAGS = (
    "-O2",
    "-ffreestanding",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-fno-pic",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fno-builtin",
    "-w",
)
_CFLAGS_I386 = (
    "-m32",
    "-O2",
    "-ffreestanding",
    "-fno-pic",
    "-fno-asynchronous-unwind-tables",
    "-w",
)

_METADATA = """
struct depend { int minimum, preferred, maximum; };
struct metadata { int version, type; const void *data; const char *name; };
#define METADATA(id, kind, what, text) \\
    static const struct metadata id = { 1, kind, what, text }; \\
    static const void *const id##_entry \\
        __attribute__((section("set_modmetadata_set"), used)) = &id;
"""


def kqemu_source(
    *,
    name: str = "kqemu",
    wants: Sequence[str] = (),
    cdevsw: int | None = None,
    depends: int | None = None,
    extra: str = "",
) -> str:
    """C of a module: its metadata, the symbols that it wants, the first int of its cdevsw."""
    parts = [_METADATA, f'METADATA(_{name}_module, 2, &_{name}_module, "{name}")']
    if depends is not None:
        parts.append(f"static const struct depend on_kernel = {{ {depends}, {depends}, 899999 }};")
        parts.append(f'METADATA(_{name}_depend_on_kernel, 1, &on_kernel, "kernel")')
    for wanted in wants:
        parts.append(f"extern char {wanted}; void *use_{wanted}(void) {{ return &{wanted}; }}")
    if cdevsw is not None:
        parts.append(f"struct {{ int version; void *open; }} {name}_cdevsw = {{ {cdevsw:#x} }};")
    return "\n".join([*parts, extra, ""])


def kqemu_module(
    *,
    name: str = "kqemu",
    wants: Sequence[str] = (),
    cdevsw: int | None = None,
    depends: int | None = None,
    extra: str = "",
) -> Module:
    """The compiled module of ``kqemu_source``."""
    source = kqemu_source(name=name, wants=wants, cdevsw=cdevsw, depends=depends, extra=extra)
    return read_module(compiled(source), f"{name}.ko")


@cache
def compiled(source: str, *flags: str) -> bytes:
    """The object file that GCC makes of ``source``."""
    return _made_of(source, "gcc", *_CFLAGS, *flags, "-x", "c", "-", "-c")


@cache
def compiled_i386(source: str) -> bytes:
    """The same, for i386."""
    return _made_of(source, "gcc", *_CFLAGS_I386, "-x", "c", "-", "-c")


@cache
def assembled(source: str, *flags: str) -> bytes:
    """The object file that the assembler makes of ``source``."""
    return _made_of(source, "as", *flags, "-")


@cache
def linked(objects: bytes, *flags: str) -> bytes:
    """What ``ld`` makes of one object file."""
    return _through(objects, "ld", *flags, "-o", "{out}", "{in}")


@cache
def objcopied(data: bytes, *flags: str) -> bytes:
    """What ``objcopy`` makes of a file."""
    return _through(data, "objcopy", *flags, "{in}", "{out}")


def kernel(
    osreldate: str = "int osreldate = 700055;",
    *,
    extra: str = "char gdt[128] = {1}; char common_tss[1664];",
    bits: int = 64,
) -> bytes:
    """A linked kernel of sorts. ``osreldate`` and ``extra`` are its C."""
    source = f"{osreldate}\n{extra}\nvoid _start(void) {{}}\n"
    if bits == 32:
        return linked(compiled_i386(source), "-m", "elf_i386", "-static", "-Ttext", "0xc0400000")
    return linked(compiled(source), "-static", "-Ttext", "0xffffffff80100000")


def _made_of(source: str, *command: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made.o")
        subprocess.run([*command, "-o", str(made)], input=source.encode(), check=True, timeout=300)
        return made.read_bytes()


def _through(data: bytes, *command: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given"), Path(folder, "made")
        given.write_bytes(data)
        names = {"{in}": str(given), "{out}": str(made)}
        subprocess.run([names.get(c, c) for c in command], check=True, timeout=300)
        return made.read_bytes()
