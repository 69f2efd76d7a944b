"""Machine code to frozen values, by Capstone: whole instructions, or outlines, which are cheap.

What an instruction reads and writes is not to be taken from here alone: see
:mod:`kpatch.isa.agreed`.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from kpatch.isa import capstone_layout as layout
from kpatch.isa.capstone_library import Decoded, Decoder, outlines
from kpatch.isa.instruction import (
    MAX_LENGTH,
    REGISTERS,
    Immediate,
    Instruction,
    Memory,
    Operand,
    Register,
)
from kpatch.isa.mnemonics import mnemonic_of, operation_of
from kpatch.units import Readable

_BRANCHES: Final = ("j", "call", "loop")


class Outline(NamedTuple):
    """An instruction as text only: ten times cheaper to decode than an :class:`Instruction`."""

    address: int
    size: int
    mnemonic: str
    operands: str

    @property
    def operation(self) -> str:
        """The mnemonic without prefixes."""
        return operation_of(self.mnemonic)

    @property
    def branch_target(self) -> int | None:
        """The address that a direct jump, loop or call goes to; None for anything else."""
        # Capstone writes numbers up to 9 without 0x.
        if self.operands[:1].isdigit() and self.operation.startswith(_BRANCHES):
            return int(self.operands, 0)
        return None


def outline(code: Readable, address: int = 0, most: int = 0) -> Iterator[Outline]:
    """Decode ``code`` from its first byte on, cheaply; stop at the first invalid byte.

    ``most`` is the number of instructions that are decoded; 0 for all.
    """
    return map(Outline._make, outlines(bytes(code), address, most))


@cache
def _decoder() -> Decoder:
    return Decoder()


def decode(code: Readable, address: int = 0) -> Iterator[Instruction]:
    """Decode ``code`` from its first byte on; stop without error at the first invalid byte."""
    return map(_instruction, _decoder().decode(bytes(code), address, 0))


class Raw(NamedTuple):
    """An instruction, with what Capstone says of its effects.

    ``reads`` and ``writes`` are names as written, ``flags`` is a mask of X86_EFLAGS_*.
    """

    instruction: Instruction
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    flags: int


@lru_cache(maxsize=4096)  # a scan comes to the same few places again and again
def decode_raw(code: bytes) -> Raw | None:
    """The one instruction at the start of ``code``, at address 0, with its effects."""
    found = next(_decoder().decode(code, 0, 1), None)
    if found is None:
        return None
    reads, writes = (tuple(map(_name_of, registers)) for registers in (found.reads, found.writes))
    return Raw(_instruction(found), reads, writes, found.eflags)


def decode_one(code: Readable, address: int = 0) -> Instruction | None:
    """The one instruction at the start of ``code``, or None where there is none."""
    return _decoded(bytes(code[:MAX_LENGTH]), address)


@lru_cache(maxsize=4096)
def _decoded(code: bytes, address: int) -> Instruction | None:
    found = decode_raw(code)
    if found is None:
        return None
    each = found.instruction
    if address and len(each.operands) == 1 and isinstance(each.operands[0], Immediate):
        # It may be a distance, which Capstone adds to the address.
        return next(map(_instruction, _decoder().decode(code, address, 1)), None)
    return each._replace(address=address)


def _instruction(found: Decoded) -> Instruction:
    groups = found.groups
    missing = _MISSING_ACCESS.get(found.mnemonic, ())
    mnemonic = mnemonic_of(found.mnemonic, found.op_str)
    return Instruction(
        address=found.address,
        raw=found.raw,
        mnemonic=mnemonic,
        text=f"{mnemonic} {found.op_str}".rstrip(),
        operands=tuple(_operand(*operand) for operand in found.operands),
        reads=frozenset((*missing, *map(_whole_of, found.reads))),
        writes=frozenset((*missing, *map(_whole_of, found.writes))),
        is_call=layout.GRP_CALL in groups,
        # The group of jumps lacks loop, loope and loopne.
        is_branch=layout.GRP_JUMP in groups or found.mnemonic.startswith("loop"),
        is_return=layout.GRP_RET in groups or layout.GRP_IRET in groups,
        immediate_at=found.immediate_at,
    )


_MISSING_ACCESS: Final = {"enter": ("rsp", "rbp")}
"""What Capstone leaves out of ``regs_access``."""


def _segment(name: str) -> str | None:
    """In 64-bit mode the bases of the other segments count as 0. SDM vol. 1, 3.3.7.1."""
    return name if name in ("fs", "gs") else None


def _whole(name: str) -> str:
    return REGISTERS[name][0] if name in REGISTERS else name


@cache
def _name_of(register: int) -> str:
    """A register's name as written; empty for none. To ask Capstone costs a call into C."""
    return _decoder().name(register)


@cache
def _whole_of(register: int) -> str:
    return _whole(_name_of(register))


def _operand(kind: int, size: int, value: Any) -> Operand:
    if kind == layout.OP_REG:
        return Register(_name_of(value), _whole_of(value), size)
    if kind == layout.OP_IMM:
        return Immediate(value, size)
    segment, base, index, scale, displacement = value
    return Memory(
        segment=_segment(_name_of(segment)),
        base=_name_of(base) or None,
        index=_name_of(index) or None,
        scale=scale,
        displacement=displacement,
        size=size,
    )
