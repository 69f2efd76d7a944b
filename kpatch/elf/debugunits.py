"""Which units of debugging information may hold an entry of a name, told without parsing them.

An entry has its name in its unit, or there the place of the name in a table of strings, or the
number of that place (DWARF 5, 7.5.5, class string). So a unit without any of these bytes has no
such entry. Bytes that are there by chance only cost the time to parse a unit for nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_MOST_PLACES: Final = 64
"""Places of one name in the tables of strings that are looked for; with more, every unit counts."""


class _Name(NamedTuple):
    """What stands in a unit that has the name, and what stands in a table of numbered places."""

    in_unit: tuple[bytes, ...]
    in_table: tuple[bytes, ...]


class Units:
    """The units of a file, as pyelftools has them, and what their bytes tell."""

    def __init__(self, dwarf: Any, *names: bytes) -> None:
        self._dwarf = dwarf
        self._table = _bytes_of(dwarf.debug_str_offsets_sec)
        self._names = {name: self._looked_up(name) for name in names}

    def __iter__(self) -> Iterator[tuple[Any, frozenset[bytes]]]:
        """Each unit, with those of the names that an entry in it may have."""
        for units, section in (
            (self._dwarf.iter_CUs(), self._dwarf.debug_info_sec),
            (self._dwarf.iter_TUs(), self._dwarf.debug_types_sec),
        ):
            data = _bytes_of(section)
            for unit in units:
                # DWARF 5, 7.5.6: DW_FORM_strx4 has 4 bytes, as DW_FORM_addrx4; pyelftools 0.33
                # takes 8, and reads what follows from the wrong place without a word.
                forms = unit.structs.Dwarf_dw_form
                forms["DW_FORM_strx4"] = forms["DW_FORM_addrx4"]
                names = (
                    name
                    for name, known in self._names.items()
                    if known is None or self._has(data, unit, known)
                )
                yield unit, frozenset(names)

    def _looked_up(self, name: bytes) -> _Name | None:
        """What to look for; None where that is too much."""
        order = "<" if self._dwarf.config.little_endian else ">"
        places = []
        for section in (self._dwarf.debug_str_sec, self._dwarf.debug_line_str_sec):
            # Also at the end of a longer string: linkers store a name once with those it ends.
            for found in re.finditer(re.escape(name) + b"\0", _bytes_of(section)):
                # In 64-bit DWARF these are the lower half of the place.
                places.append(struct.pack(f"{order}I", found.start()))
                if len(places) > _MOST_PLACES:
                    return None
        numbered = tuple(place for place in places if place in self._table)
        return _Name((name + b"\0", *places), numbered)

    def _has(self, data: bytes, unit: Any, name: _Name) -> bool:
        start, end = unit.cu_offset, unit.cu_offset + unit.size
        if any(data.find(seen, start, end) >= 0 for seen in name.in_unit):
            return True
        if not name.in_table:
            return False
        first, last = self._part_of_table(unit)
        return any(self._table.find(seen, first, last) >= 0 for seen in name.in_table)

    def _part_of_table(self, unit: Any) -> tuple[int, int]:
        """Where a unit's numbered places lie (DWARF 5, 7.26); all of them where it does not say."""
        base = unit.get_top_DIE().attributes.get("DW_AT_str_offsets_base")
        if base is None:
            return 0, len(self._table)
        width = 4 if unit.structs.dwarf_format == 32 else 8
        # In front of them: their length in bytes, which counts the version and padding, 2 each.
        length = self._table[base.value - 4 - width : base.value - 4]
        is_little = self._dwarf.config.little_endian
        size = int.from_bytes(length, "little" if is_little else "big")
        return base.value, base.value - 4 + size


def _bytes_of(section: Any) -> bytes:
    return section.stream.getvalue() if section is not None else b""
