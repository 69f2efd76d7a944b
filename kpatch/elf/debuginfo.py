"""What a kernel's debugging information says of two of its data structures.

DWARF 2 to 5, read with pyelftools. Only the types at the top of each compilation unit are looked
at, and no more of them than a bound, so that a large or hostile file costs little.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from kpatch.errors import DamagedFileError

_MOST_ENTRIES: Final = 200_000
"""Entries at the top of compilation units that are read. Each of a kernel's has about 2,000."""

_PLUS_UCONST: Final = 0x23  # DW_OP_plus_uconst: how DWARF 2 writes a member's place
_SEVEN_BITS: Final = 0x7F
_DETAIL: Final = 100
"""Characters of a foreign message that are shown."""

_FOREIGN: Final = (
    *(ELFError, DWARFError, ConstructError, struct.error, zlib.error, AssertionError),
    *(AttributeError, EOFError, LookupError, OverflowError, RecursionError, TypeError, ValueError),
    NotImplementedError,
)
"""What pyelftools raises on information that is damaged, or of a form that it does not know."""


class DebugInfo(NamedTuple):
    """Offsets in struct pcpu, and common_tss, in bytes. None for what is not said.

    ``tss_count`` is the length of common_tss, MAXCPU, which only the file that defines it knows.
    """

    cpuid: int
    cpumask: int | None
    tss_stride: int | None
    tss_count: int | None


def read_debug_info(data: bytes) -> DebugInfo | None:
    """What the debugging information of an ELF file says; None where it has none of struct pcpu.

    Raises DamagedFileError where it is there and does not read.
    """
    try:
        return _read(ELFFile(io.BytesIO(data)))
    except _FOREIGN as error:
        detail = " ".join(str(error).split())[:_DETAIL] or type(error).__name__
        old = b".zdebug_info" in data
        raise DamagedFileError(
            f"its debugging information does not read: {detail}",
            todo="run 'objcopy --decompress-debug-sections' on it"
            if old
            else "get the file again, or give the kernel without it (objcopy --strip-debug)",
        ) from error


def _read(file: Any) -> DebugInfo | None:
    if not file.has_dwarf_info():
        return None
    pcpu: dict[str, int] = {}
    stride = count = None
    for die in islice(_top_entries(file.get_dwarf_info()), _MOST_ENTRIES):
        name = _name(die)
        if die.tag == "DW_TAG_structure_type" and name == "pcpu":
            pcpu = pcpu or dict(_members(die))
        elif die.tag == "DW_TAG_variable" and name == "common_tss":
            try:
                found = _array(die)
            except KeyError:
                found = None  # in a type unit of DWARF 5, which pyelftools does not look up
            if found is not None:
                stride, count = found[0], found[1] or count
        if "pc_cpuid" in pcpu and stride is not None and count is not None:
            break
    if "pc_cpuid" not in pcpu:
        return None
    return DebugInfo(pcpu["pc_cpuid"], pcpu.get("pc_cpumask"), stride, count)


def _top_entries(dwarf: Any) -> Iterator[DIE]:
    for unit in chain(dwarf.iter_CUs(), dwarf.iter_TUs()):
        yield from unit.get_top_DIE().iter_children()


def _members(die: DIE) -> Iterator[tuple[str, int]]:
    for child in die.iter_children():
        place = child.attributes.get("DW_AT_data_member_location")
        if child.tag == "DW_TAG_member" and place is not None:
            offset = _offset(place.value)
            if offset is not None:
                yield _name(child), offset


def _offset(value: object) -> int | None:
    """A member's offset: a number, or in DWARF 2 an expression that adds one (section 5.6.6)."""
    if isinstance(value, int):
        return value
    if isinstance(value, list) and value[:1] == [_PLUS_UCONST]:
        return sum((int(byte) & _SEVEN_BITS) << 7 * n for n, byte in enumerate(value[1:]))
    return None


def _array(variable: DIE) -> tuple[int, int | None] | None:
    """The distance from one element of an array to the next, and how many there are."""
    if "DW_AT_type" not in variable.attributes:
        return None  # the definition of what was declared elsewhere
    array = variable.get_DIE_from_attribute("DW_AT_type")
    if array.tag != "DW_TAG_array_type":
        return None
    element = array.get_DIE_from_attribute("DW_AT_type")
    while element.tag in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"):
        element = element.get_DIE_from_attribute("DW_AT_type")
    size = element.attributes.get("DW_AT_byte_size")
    if size is None:
        return None
    for bound in array.iter_children():
        for key, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
            value = bound.attributes.get(key)
            if value is not None and isinstance(value.value, int):
                return int(size.value), int(value.value) + more
    return int(size.value), None


def _name(die: DIE) -> str:
    name = die.attributes.get("DW_AT_name")
    return name.value.decode("ascii", "replace") if name is not None else ""
