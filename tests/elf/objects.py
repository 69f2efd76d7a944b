"""Object files of the system's assembler and compiler, and ways to break them."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from struct import pack_into, unpack_from

from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, Relocation, read_module
from tests.referees import require

# Byte offsets of the fields of a 64-byte section header (gABI, "Section Header").
SECTION_FIELDS = {
    "name": (0, "<I"),
    "type": (4, "<I"),
    "flags": (8, "<Q"),
    "offset": (24, "<Q"),
    "size": (32, "<Q"),
    "link": (40, "<I"),
    "info": (44, "<I"),
    "align": (48, "<Q"),
    "entsize": (56, "<Q"),
}

# A module as FreeBSD's build makes it, in small: linker sets, metadata, a table of addresses.
MODULE_SOURCE = """
    .text
    .globl kqemu_exec
    .type kqemu_exec, @function
kqemu_exec:
    movq $monitor_code, %rax
    movl common_tss(%rip), %ecx
    movl counter(%rip), %edx
helper:
    ret
    .section .rodata, "a"
    .balign 32
    .quad helper, kqemu_exec
    .balign 32
    .globl monitor_code
    .type monitor_code, @object
    .size monitor_code, 64
monitor_code:
    .fill 64, 1, 0x90
    .data
    .balign 8
    .quad common_tss + 8
    .local counter
    .comm counter, 4, 4
    .bss
    .skip 100
    .section .rodata.str1.1, "aMS", @progbits, 1
kernel_name: .string "kernel"
module_name: .string "kqemu"
    .data
    .balign 8
depend: .long 700055, 700055, 799999
    .balign 8
depend_record: .long 1, 1
    .quad depend, kernel_name
version: .long 1
    .balign 8
version_record: .long 1, 3
    .quad version, module_name
    .balign 8
moduledata: .quad 0, 0
module_record: .long 1, 2
    .quad moduledata, module_name
    .section set_modmetadata_set, "aw"
    .quad depend_record, module_record, version_record
    .section set_sysinit_set, "aw"
    .quad moduledata
"""


# Modules of tests make objects while they are imported.
require("as", "gcc", whole_module=True)


@cache
def assembled(source: str, *options: str) -> bytes:
    """What the system's assembler makes of ``source``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.o")
        subprocess.run(
            ["as", *options, "-o", path, "-"], input=source.encode(), check=True, timeout=300
        )
        return path.read_bytes()


@cache
def compiled(source: str) -> bytes:
    """What the system's compiler makes of C, with the flags of a FreeBSD/amd64 module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.o")
        flags = ["-c", "-O2", "-ffreestanding", "-fno-pic", "-mcmodel=kernel", "-mno-red-zone"]
        command = ["gcc", *flags, "-fno-asynchronous-unwind-tables", "-fcf-protection=none"]
        subprocess.run(
            [*command, "-x", "c", "-o", path, "-"], input=source.encode(), check=True, timeout=300
        )
        return path.read_bytes()


def small_module() -> Module:
    """``MODULE_SOURCE``, assembled and read."""
    return read_module(assembled(MODULE_SOURCE), "small.ko")


def with_section_field(data: bytes, section: int, field: str, value: int) -> bytes:
    """The file with one field of one section header changed."""
    position, form = SECTION_FIELDS[field]
    (shoff,) = unpack_from("<Q", data, 40)
    changed = bytearray(data)
    pack_into(form, changed, shoff + section * AMD64.section.size + position, value)
    return bytes(changed)


def retyped(module: Module, relocation: Relocation, kind: int) -> bytes:
    """The file with another type for one of its relocations."""
    table = module.sections[relocation.table]
    at = table.offset + relocation.index * AMD64.rela.size + 8  # r_info's low half is the type
    return with_bytes(module.data, at, kind.to_bytes(4, "little"))


def with_bytes(data: bytes, offset: int, new: bytes) -> bytes:
    """The file with ``new`` at ``offset``."""
    return data[:offset] + new + data[offset + len(new) :]
