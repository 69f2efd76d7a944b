"""Capstone's own library, called through ctypes: its decoder of x86-64 and no more.

Capstone's Python package loads the tables of eighteen processors first, which took longer than all
that a scan does, and makes several objects of each operand. That the library is the one that
:mod:`kpatch.isa.capstone_layout` describes, its version says, and one known instruction, which must
come out right before any other is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ctypes import (
    CDLL,
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint,
    c_uint8,
    c_uint16,
    c_uint64,
)
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final, NamedTuple

from kpatch.isa import capstone_layout as layout
from kpatch.isa.capstone_layout import Insn, RegisterList

_PROTOTYPES: Final = (
    ("cs_version", c_uint, POINTER(c_int), POINTER(c_int)),
    ("cs_open", c_int, c_uint, c_uint, POINTER(c_size_t)),
    ("cs_option", c_int, c_size_t, c_int, c_size_t),
    ("cs_errno", c_int, c_size_t),
    ("cs_disasm", c_size_t, c_size_t, c_char_p, c_size_t, c_uint64, c_size_t,
     POINTER(POINTER(Insn))),
    ("cs_free", None, POINTER(Insn), c_size_t),
    ("cs_reg_name", c_char_p, c_size_t, c_uint),
    ("cs_regs_access", c_int, c_size_t, POINTER(Insn), POINTER(c_uint16), POINTER(c_uint8),
     POINTER(c_uint16), POINTER(c_uint8)),
)  # fmt: skip
"""Functions: name, result, parameters."""


class Decoded(NamedTuple):
    """An instruction as Capstone gives it, registers as numbers.

    An operand is its type, its size in bytes, and its value: a number, or segment, base, index,
    scale and displacement. ``immediate_at`` is an offset in ``raw``, 0 where there is none.
    """

    address: int
    raw: bytes
    mnemonic: str
    op_str: str
    groups: tuple[int, ...]
    operands: tuple[tuple[int, int, Any], ...]
    immediate_at: int
    eflags: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]


_KNOWN: Final = Decoded(
    address=0x1000,
    raw=bytes.fromhex("654881848878563412f4fffffe"),
    mnemonic="add",
    op_str="qword ptr gs:[rax + rcx*4 + 0x12345678], -0x100000c",
    groups=(),
    operands=((layout.OP_MEM, 8, (33, 35, 38, 4, 0x12345678)), (layout.OP_IMM, 8, -0x100000C)),
    immediate_at=9,
    eflags=0x3F,
    reads=(33, 35, 38),
    writes=(25,),
)
"""An instruction that fills most fields, and what 5.0 says of it."""


class Decoder:
    """Decodes with all details. What it gives is copied: no memory of the library leaves it.

    Raises ImportError where the library is missing, or is not the one that is described here.
    """

    def __init__(self) -> None:
        self._handle = _opened()
        _require_done(_library().cs_option(self._handle, layout.OPT_DETAIL, layout.OPT_ON))
        _require(next(self.decode(_KNOWN.raw, _KNOWN.address, 1), None) == _KNOWN)

    def decode(self, code: bytes, address: int, most: int) -> Iterator[Decoded]:
        """Decode from the first byte on, ``most`` instructions or 0 for all; stop without error at
        the first invalid byte.
        """
        for each in _disassembled(self._handle, code, address, most):
            reads, writes = _accessed(self._handle, each)
            detail = each.detail.contents
            x86 = detail.arch
            yield Decoded(
                address=each.address,
                raw=bytes(each.bytes)[: each.size],
                mnemonic=each.mnemonic.decode("ascii"),
                op_str=each.op_str.decode("ascii"),
                groups=tuple(detail.groups[: detail.groups_count]),
                operands=tuple(map(_operand, x86.operands[: x86.op_count])),
                immediate_at=x86.encoding.imm_offset,
                eflags=x86.flags,
                reads=reads,
                writes=writes,
            )

    def name(self, register: int) -> str:
        """A register's name; empty for none."""
        return (_library().cs_reg_name(self._handle, register) or b"").decode("ascii")


def outlines(code: bytes, address: int, most: int) -> Iterator[tuple[int, int, str, str]]:
    """Address, size, mnemonic and operands: ten times cheaper than all details."""
    for each in _disassembled(_plain_handle(), code, address, most):
        yield (each.address, each.size, each.mnemonic.decode("ascii"), each.op_str.decode("ascii"))


def _disassembled(handle: c_size_t, code: bytes, address: int, most: int) -> Iterator[Any]:
    """Instructions in the library's memory, each valid until the next is asked for."""
    library = _library()
    first = POINTER(Insn)()
    number = library.cs_disasm(handle, code, len(code), address, most, byref(first))
    if not number:
        _require_done(library.cs_errno(handle))
        return
    try:
        for at in range(number):
            yield first[at]
    finally:
        library.cs_free(first, number)


def _accessed(handle: c_size_t, each: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All registers that an instruction reads and writes."""
    reads, writes = RegisterList(), RegisterList()
    read, written = c_uint8(), c_uint8()
    _require_done(
        _library().cs_regs_access(handle, byref(each), reads, byref(read), writes, byref(written))
    )
    return tuple(reads[: read.value]), tuple(writes[: written.value])


def _operand(operand: Any) -> tuple[int, int, Any]:
    value = operand.value
    if operand.type == layout.OP_REG:
        return layout.OP_REG, operand.size, value.reg
    if operand.type == layout.OP_IMM:
        return layout.OP_IMM, operand.size, value.imm
    memory = value.mem
    where = (memory.segment, memory.base, memory.index, memory.scale, memory.disp)
    return operand.type, operand.size, where


def _opened() -> c_size_t:
    handle = c_size_t()
    _require_done(_library().cs_open(layout.ARCH_X86, layout.MODE_64, byref(handle)))
    return handle


@cache
def _plain_handle() -> c_size_t:
    return _opened()


@cache
def _library() -> Any:
    library = CDLL(_path(), getattr(os, "RTLD_DEEPBIND", 0))  # other libraries hold Capstones too
    for name, result, *arguments in _PROTOTYPES:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    major, minor = c_int(), c_int()
    library.cs_version(byref(major), byref(minor))
    _require((major.value, minor.value) == layout.VERSION)
    return library


def _path() -> str:
    """Where the package keeps its library, or finds one of the system."""
    package = PathFinder.find_spec("capstone")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "lib", "libcapstone.so")
        if path.is_file():
            return str(path)
    # Imported here: it is dear, and mostly not needed.
    import capstone

    return str(capstone._cs._name)


def _require_done(error: int) -> None:
    if error == layout.ERR_MEM:
        raise MemoryError
    _require(error == 0)


def _require(is_so: bool) -> None:
    if not is_so:
        raise ImportError("it is not as Capstone 5.0 is", name="capstone")
