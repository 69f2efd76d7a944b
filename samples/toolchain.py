"""The system's compiler, assembler and linker, and what their output needs for an old kernel."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

KERNEL_FLAGS = (
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-common",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-O2",
)
MONITOR_FLAGS = (
    "-fpie",
    "-fvisibility=hidden",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-ffreestanding",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fno-tree-loop-distribute-patterns",
    "-O2",
)
I386_FLAGS = (
    "-m32",
    *(flag for flag in KERNEL_FLAGS if flag not in ("-mcmodel=kernel", "-mno-red-zone")),
)
LANGUAGE = ("-std=gnu11", "-Wall", "-Wextra")

EI_OSABI = 7
ELFOSABI_FREEBSD = 9
SHT_RELA = 4
R_X86_64_PC32 = 2
R_X86_64_PLT32 = 4


class BuildError(Exception):
    """A tool failed or made something that the samples cannot use."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a tool in ``cwd`` and return its output; its warnings go to stderr.

    :raises BuildError: with what the tool said, when it failed.
    """
    line = [str(word) for word in command]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(line)}\n{done.stdout}{done.stderr}")
    sys.stderr.write(done.stderr)
    return done.stdout


def compile_source(
    source: Path,
    target: Path,
    flags: Sequence[str],
    folders: Sequence[Path],
    compiler: str = "gcc",
) -> Path:
    """Compile C or assemble ``.S``, in the folder of the source."""
    includes = [f"-I{folder}" for folder in folders]
    words = (*flags, *LANGUAGE, *includes)
    run(compiler, *words, "-c", source.name, "-o", target, cwd=source.parent)
    return target


def without_paths(*folders: Path) -> tuple[str, ...]:
    """Return the flags that keep the names of ``folders`` out of what the compiler writes."""
    return tuple(f"-ffile-prefix-map={folder}=." for folder in folders)


def without_plt32(data: bytes) -> bytes:
    """Return an amd64 object with its ``R_X86_64_PLT32`` relocations made ``R_X86_64_PC32``.

    Since 2018 GNU as writes PLT32 for every ``call`` and ``jmp`` to a symbol, and no option turns
    that off. Without a procedure linkage table both types compute S + A - P (x86-64 psABI,
    section 4.4.1), but the kernel linkers of 2005 to 2010 know only PC32.
    """
    out = bytearray(data)
    for offset, size in _tables(data, SHT_RELA):
        for entry in range(offset, offset + size, 24):
            kind, symbol = struct.unpack_from("<II", out, entry + 8)
            if kind == R_X86_64_PLT32:
                struct.pack_into("<II", out, entry + 8, R_X86_64_PC32, symbol)
    return bytes(out)


def for_freebsd(data: bytes) -> bytes:
    """Return the object with FreeBSD as the operating system in its header."""
    return data[:EI_OSABI] + bytes([ELFOSABI_FREEBSD]) + data[EI_OSABI + 1 :]


def _tables(data: bytes, wanted: int) -> Iterator[tuple[int, int]]:
    (table,) = struct.unpack_from("<Q", data, 40)
    entry_size, count = struct.unpack_from("<HH", data, 58)
    for index in range(count):
        fields = struct.unpack_from("<IIQQQQIIQQ", data, table + index * entry_size)
        if fields[1] == wanted:
            yield fields[4], fields[5]
