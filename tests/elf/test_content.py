"""What a module is once it is loaded costs no more than its size, whatever points where."""

from __future__ import annotations

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.content import MOST_CONSTANTS, loaded_digest
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.units import SectionOffset
from tests.editing import append
from tests.elf.objects import small_module

_STRINGS = elf.SHF_ALLOC | elf.SHF_MERGE | elf.SHF_STRINGS


def pointing_into_one_string(length: int, times: int) -> Module:
    """A module with one string of ``length`` bytes and as many relocations to its beginning."""
    data = append(
        small_module(),
        sections=[
            NewSection(".long", elf.SHT_PROGBITS, _STRINGS, 1, b"a" * length + b"\0"),
            NewSection(".table", elf.SHT_PROGBITS, elf.SHF_ALLOC, 8, bytes(8 * times)),
        ],
        symbols=[NewSymbol("long", ".long")],
        relocations=[
            NewRelocation(".table", SectionOffset(8 * at), elf.R_X86_64_64, "long")
            for at in range(times)
        ],
    )
    return read_module(data, "long.ko")


def test_constants_count_as_often_as_relocations_point_into_them() -> None:
    most = pointing_into_one_string(MOST_CONSTANTS // 5, times=4)
    assert loaded_digest(most) != loaded_digest(small_module())
    more = pointing_into_one_string(MOST_CONSTANTS // 5, times=6)
    with pytest.raises(DamagedFileError, match=r"long\.ko: \.long: .* more than 4 MiB of const"):
        loaded_digest(more)
