"""Every register that a world switch can change, read in one call.

``Uc.reg_read_batch`` builds its ctypes arguments anew each time: 68 us for 34 registers. Built
once, the same call of the library takes about 1 us.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

from unicorn import Uc, UcError
from unicorn import x86_const as x86

_SLOT: Final = 24  # bytes for one value: struct uc_x86_mmr is the largest
_MMR: Final = struct.Struct("<HxxxxxxQII")  # selector, base, limit, flags

GENERAL: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_NAMES: Final = (
    *GENERAL, "rip",
    "cr2", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "fs", "gs", "fs_base", "gs_base",
    "rflags", "cr0", "cr3", "cr4", "cs", "ss", "ds", "es",
)  # fmt: skip
_TABLES: Final = ("ldtr", "gdtr", "tr", "idtr")
_AT: Final = {name: _SLOT * number for number, name in enumerate((*_NAMES, *_TABLES))}
_CONTROLS: Final = slice(_AT["rflags"], _AT["tr"])


@cache
def number_of(name: str) -> int:
    """The library's number for a register."""
    return int(getattr(x86, f"UC_X86_REG_{name.upper()}"))


_IDS: Final = tuple(map(number_of, (*_NAMES, *_TABLES)))


class TaskRegister(NamedTuple):
    """TR as the emulator keeps it, hidden part included: to put it back as it was."""

    selector: int
    base: int
    limit: int
    flags: int


@dataclass(frozen=True)
class TableRegister:
    """TR, LDTR, GDTR or IDTR, with the hidden part. GDTR and IDTR have no selector.

    ``type`` is that of the descriptor that was loaded. It is not compared: after ``lldt`` of a null
    selector Unicorn keeps the old one.
    """

    selector: int
    base: int
    limit: int
    type: int = field(compare=False)


@dataclass(frozen=True)
class ControlRegisters:
    """What says which code and which memory there is: TF and IF; cr0, cr3 and cr4, the selectors
    of code and data, LDTR and GDTR.
    """

    raw: bytes

    def __getitem__(self, name: str) -> int:
        """The value of one that is a plain number."""
        at = _AT[name] - _CONTROLS.start
        return int.from_bytes(self.raw[at : at + 8], "little")

    @property
    def key(self) -> tuple[int, bytes]:
        """Equal for registers that say the same; the other flags do not count."""
        return self.raw[1] & 3, self.raw[_SLOT:]

    @property
    def gdtr(self) -> bytes:
        """GDTR as it is kept."""
        return self.raw[-_SLOT:]

    def table(self, name: str) -> TableRegister:
        """The value of ``ldtr`` or ``gdtr``."""
        return _table(self.raw, _AT[name] - _CONTROLS.start)


@dataclass(frozen=True)
class Registers:
    """The registers of one CPU. Equal registers behave equally."""

    raw: bytes

    def __getitem__(self, name: str) -> int:
        """The value of a register that is a plain number."""
        return int.from_bytes(self.raw[(at := _AT[name]) : at + 8], "little")

    def table(self, name: str) -> TableRegister:
        """The value of ``tr``, ``ldtr``, ``gdtr`` or ``idtr``."""
        return _table(self.raw, _AT[name])


def _table(raw: bytes, at: int) -> TableRegister:
    selector, base, limit, flags = _MMR.unpack_from(raw, at)
    return TableRegister(selector, base, limit, flags >> 8 & 0xF)


class RegisterReader:
    """Reads all registers of one engine; and quickly those that each run needs."""

    def __init__(self, engine: Uc) -> None:
        self._engine = engine
        self._all = _Batch(_IDS, _MmrSlot)
        controls = _IDS[_CONTROLS.start // _SLOT : _CONTROLS.stop // _SLOT]
        self._controls = _Batch(controls, _MmrSlot)
        self._number = ctypes.c_uint64()
        self._at_number = ctypes.byref(self._number)

    @property
    def rip(self) -> int:
        """The address of the next instruction."""
        self._check(self._engine._do_reg_read(x86.UC_X86_REG_RIP, self._at_number))
        return self._number.value

    def write_cr3(self, root: int) -> None:
        """Set cr3."""
        self._number.value = root
        self._check(self._engine._do_reg_write(x86.UC_X86_REG_CR3, self._at_number))

    def write(self, numbers: Mapping[str, int]) -> None:
        """Set registers that are plain numbers."""
        batch = _written(tuple(numbers))
        batch.values[:] = list(numbers.values())
        self._check(self._engine._do_reg_write_batch(batch.ids, batch.pointers, batch.count))

    def read(self) -> Registers:
        """The registers as they are now."""
        return Registers(self._read(self._all))

    def read_controls(self) -> ControlRegisters:
        """Of these registers, those that say which code and which memory there is."""
        return ControlRegisters(self._read(self._controls))

    def _read(self, batch: _Batch) -> bytes:
        self._check(self._engine._do_reg_read_batch(batch.ids, batch.pointers, batch.count))
        return bytes(batch.values)

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise UcError(status)


class _Batch:
    """Some registers by number, and where the library finds or puts their values."""

    def __init__(self, numbers: Sequence[int], slot: Any) -> None:
        count, size = len(numbers), ctypes.sizeof(slot)
        self.count = ctypes.c_int(count)
        self.ids = (ctypes.c_int * count)(*numbers)
        self.values = (slot * count)()
        start = ctypes.addressof(self.values)
        self.pointers = (ctypes.c_void_p * count)(*(start + size * n for n in range(count)))


_MmrSlot: Final = ctypes.c_char * _SLOT


@cache
def _written(names: tuple[str, ...]) -> _Batch:
    """The registers of one kind of write: there are few."""
    return _Batch([number_of(name) for name in names], ctypes.c_uint64)
