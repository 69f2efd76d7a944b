"""What tells that parts of a module were lost, which the kernel linker itself does not see.

Of relocations it reads as many entries as a table has, also none (``nrela`` in FreeBSD
sys/kern/link_elf_obj.c), and what they would have filled stays as it is in the file. The pointers
of a linker set are used at once: linker_file_register_modules(), linker_file_sysinit() and
linker_file_register_sysctls() of sys/kern/kern_linker.c look behind each, and
linker_file_sysuninit() when the module goes.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.entries import Relocation
from kpatch.elf.klink_model import Breaches, Consequence, Rule
from kpatch.elf.metadata import METADATA_SET, POINTER_SIZE
from kpatch.elf.module import Module

_TODO = "get the file again: it was complete when it was built"

_WALKED: Final = (METADATA_SET, "set_sysinit_set", "set_sysuninit_set", "set_sysctl_set")

# What a module names without using it: sys/linker_set.h the ends of its sets, an assembler the
# table that position-independent code is said to have.
_ONLY_NAMED: Final = ("__start_set_", "__stop_set_", "_GLOBAL_OFFSET_TABLE_")

EH_FRAME: Final = ".eh_frame"  # no kernel unwinds with it, and linkers drop entries of it

# The longest row in builds by 20 compilers was 10 bytes; a lost block of a disk has 512 or more.
_NO_CODE: Final = bytes(256)


def _sets_relocated(module: Module) -> Breaches:
    for section in module.sections if _is_readable(module) else ():
        if section.is_loaded and section.name in _WALKED:
            filled = {r.offset for r in module.relocations_of(section.index) if r.width}
            bare = section.size // POINTER_SIZE - len(filled)
            if bare > 0:
                have = "has" if bare == 1 else "have"
                what = f"{bare} of its pointers {have} no relocation, and would lead nowhere"
                yield what, f"section {section.index} ({section.name})"


def _tables_filled(module: Module) -> Breaches:
    found = Counter(relocation.table for relocation in module.relocations)
    blank = Counter(relocation.table for relocation in module.relocations if _is_blank(relocation))
    for table in module.sections if _is_readable(module) else ():
        entries, zeros = found[table.index], blank[table.index]
        if not table.is_relocation_table or (entries and not zeros):
            continue
        target = module.sections[table.info]
        if target.is_loaded and target.size and not (target.is_debug or target.name == EH_FRAME):
            what = f"{zeros} of {entries} relocations of {target.name} are zeros"
            if not entries:
                what = f"the table of {target.name}'s relocations is empty"
            yield what, f"section {table.index} ({table.name})"


def _is_blank(relocation: Relocation) -> bool:
    """Whether all 24 bytes of the entry are zeros, which no linker writes for what is loaded."""
    return not (relocation.type or relocation.symbol or relocation.offset or relocation.addend)


def _code_there(module: Module) -> Breaches:
    for section in module.sections:
        if section.is_loaded and section.is_code and section.has_bytes:
            at = module.data.find(_NO_CODE, section.offset, section.end)
            if at >= 0:
                what = f"its code has {len(_NO_CODE)} zeros in a row, from offset 0x"
                yield f"{what}{at - section.offset:x}", f"section {section.index} ({section.name})"


def _symbols_used(module: Module) -> Breaches:
    used = {relocation.symbol for relocation in module.relocations}
    unused = [
        symbol.name
        for symbol in (module.symbols if _is_readable(module) else ())
        if symbol.is_undefined
        and symbol.bind == elf.STB_GLOBAL
        and symbol.index not in used
        and not symbol.name.startswith(_ONLY_NAMED)
    ]
    if unused:
        more = f" and of {len(unused) - 1} more" if len(unused) > 1 else ""
        yield f"no relocation makes use of {unused[0]}{more}", "symbol table"


def _is_readable(module: Module) -> bool:
    """Whether its relocations are read at all, and are what the kernel would read."""
    header = module.header
    return header.is_amd64 and header.type == elf.ET_REL and module.symtab is not None


LOST_RULES: Final = (
    Rule(
        "sets-relocated",
        "Every pointer of a linker set has a relocation.",
        Consequence.PANIC,
        _TODO,
        _sets_relocated,
    ),
    Rule(
        "tables-filled",
        "No section that is loaded has a relocation table that is empty, or has blank entries.",
        Consequence.INCOMPLETE,
        _TODO,
        _tables_filled,
    ),
    Rule(
        "code-there",
        "No code has a long row of zeros in it.",
        Consequence.INCOMPLETE,
        _TODO,
        _code_there,
    ),
    Rule(
        "symbols-used",
        "Every symbol that the kernel is to have is used by a relocation.",
        Consequence.INCOMPLETE,
        _TODO,
        _symbols_used,
    ),
)
