"""What a kernel's debugging information says of two of its data structures.

DWARF 2 to 5, read with pyelftools. Only what stands at the top of those units is parsed whose bytes
name one of the two, and no more of it than a bound, so that a large or hostile file costs little.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from kpatch.elf.debugunits import Units
from kpatch.errors import DamagedFileError

_MOST_BYTES: Final = 8 << 20
"""Bytes of units that are parsed: a unit of a kernel has 100 to 300 KiB, and a few are needed."""

MOST_UNPACKED: Final = 256 << 20
"""Bytes of debugging information, unpacked; kernels have 20 to 100 MiB."""

_READ_SECTIONS: Final = (".debug_", ".eh_frame", ".gnu_debugaltlink")

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
    _check_size(file)
    units = list(Units(file.get_dwarf_info(), b"pcpu", b"pc_cpuid", b"common_tss"))
    # Nearly every unit of a kernel has struct pcpu, by a header of all: the first that has it does.
    tops = _top_entries(unit for unit, names in units if names >= {b"pcpu", b"pc_cpuid"})
    layout = next(filter(None, map(_layout, tops)), None)
    if layout is None:
        return None
    arrays = set()
    for die in _top_entries(unit for unit, names in units if b"common_tss" in names):
        if _layout(die) not in (None, layout):
            raise ValueError("it has two different structs pcpu")
        arrays.add(_common_tss(die))
    strides = {array[0] for array in arrays if array is not None}
    counts = {array[1] for array in arrays if array is not None and array[1] is not None}
    if len(strides) > 1 or len(counts) > 1:
        raise ValueError("it has two different arrays common_tss")
    return DebugInfo(*layout, min(strides, default=None), min(counts, default=None))


def _check_size(file: Any) -> None:
    """Refuse, with ValueError, what pyelftools would take too much memory for.

    It unpacks a section to the size that its header says, to any size where the header is that of
    old (.zdebug), and makes zeros of one that has no bytes.
    """
    sections = list(file.iter_sections())
    if any(section.name.startswith(".zdebug") for section in sections):
        raise ValueError("it is compressed in the way of old (.zdebug)")
    size = sum(s.data_size for s in sections if s.name.startswith(_READ_SECTIONS))
    if size > MOST_UNPACKED:
        raise ValueError(f"it has more than {MOST_UNPACKED >> 20} MiB, unpacked")


def _top_entries(units: Iterable[Any]) -> Iterator[DIE]:
    """What stands at the top of the units. Raises ValueError where there is too much to read."""
    read = 0
    for unit in units:
        top = unit.get_top_DIE()
        for die in top.iter_children():
            if read + die.offset - top.offset > _MOST_BYTES:
                raise ValueError(
                    "the units that name struct pcpu or common_tss have more than "
                    f"{_MOST_BYTES >> 20} MiB"
                )
            yield die
        read += unit.size


def _layout(die: DIE) -> tuple[int, int | None] | None:
    """Where cpuid and its mask are, if this is struct pcpu and has members."""
    if die.tag != "DW_TAG_structure_type" or _name(die) != "pcpu":
        return None
    members = dict(_members(die))
    if "pc_cpuid" not in members:
        return None  # only declared
    return members["pc_cpuid"], members.get("pc_cpumask")


def _common_tss(die: DIE) -> tuple[int, int | None] | None:
    """The distance from one element to the next and their number, if this is that array."""
    if die.tag != "DW_TAG_variable" or _name(die) != "common_tss":
        return None
    try:
        return _array(die)
    except KeyError:
        return None  # in a type unit of DWARF 5, which pyelftools does not look up


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
