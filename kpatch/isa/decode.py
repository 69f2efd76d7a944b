"""Machine code to frozen values, by Capstone.

What an instruction reads and writes is not to be taken from here alone: see
:mod:`kpatch.isa.effects`.

Registers have two names here: as written (``ecx``) and the 64-bit register that holds them
(``rcx``), because a signature binds the register, whatever width an instruction uses of it.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from kpatch.isa import capstone_layout as layout
from kpatch.isa.capstone_library import Decoded, Decoder, outlines
from kpatch.isa.mnemonics import mnemonic_of, operation_of

MAX_LENGTH: Final = 15  # SDM vol. 2, 2.3.11: an instruction is at most 15 bytes long

_BRANCHES: Final = ("j", "call", "loop")

_NUMBERED = {f"r{n}": f"r{n}" for n in range(8, 16)}
_LEGACY = {
    "rax": ("eax", "ax", "al", "ah"),
    "rbx": ("ebx", "bx", "bl", "bh"),
    "rcx": ("ecx", "cx", "cl", "ch"),
    "rdx": ("edx", "dx", "dl", "dh"),
    "rsi": ("esi", "si", "sil"),
    "rdi": ("edi", "di", "dil"),
    "rbp": ("ebp", "bp", "bpl"),
    "rsp": ("esp", "sp", "spl"),
}
_SUFFIX_SIZE = {"": 8, "d": 4, "w": 2, "b": 1}


def _register_table() -> dict[str, tuple[str, int]]:
    table: dict[str, tuple[str, int]] = {}
    for whole, parts in _LEGACY.items():
        table[whole] = (whole, 8)
        for size, part in zip((4, 2, 1, 1), parts, strict=False):
            table[part] = (whole, size)
    for number in _NUMBERED:
        for suffix, size in _SUFFIX_SIZE.items():
            table[number + suffix] = (number, size)
    return table


NOP: Final = b"\x90"
INT3: Final = b"\xcc"

SEGMENTS: Final = frozenset({"cs", "ss", "ds", "es", "fs", "gs"})

REGISTERS: Final = _register_table()
"""Written name of a general register -> (the 64-bit register that holds it, bytes)."""


def register_view(whole: str, size: int) -> str:
    """The written name of the low ``size`` bytes of the 64-bit register ``whole``."""
    for written, (holder, width) in REGISTERS.items():
        if holder == whole and width == size:
            return written
    raise KeyError(whole)


class Register(NamedTuple):
    """A register operand: its name as written, the register that holds it, its width in bytes."""

    name: str
    whole: str
    size: int


class Immediate(NamedTuple):
    """An immediate operand, as Capstone gives it (sign-extended), and its width in bytes."""

    value: int
    size: int


class Memory(NamedTuple):
    """A memory operand ``segment:[base + index * scale + displacement]`` of ``size`` bytes."""

    segment: str | None
    base: str | None
    index: str | None  # type: ignore[assignment]  # hides tuple.index
    scale: int
    displacement: int
    size: int


Operand = Register | Immediate | Memory


class Instruction(NamedTuple):
    """One decoded instruction at ``address``.

    ``reads`` and ``writes`` hold 64-bit register names, ``rflags`` and names of system registers.
    ``immediate_at`` is the offset of the immediate in ``raw``, or 0 where there is none.
    """

    address: int
    raw: bytes
    mnemonic: str
    text: str
    operands: tuple[Operand, ...]
    reads: frozenset[str]
    writes: frozenset[str]
    is_call: bool
    is_branch: bool
    is_return: bool
    immediate_at: int

    @property
    def end(self) -> int:
        """The address behind the instruction."""
        return self.address + len(self.raw)

    @property
    def operation(self) -> str:
        """The mnemonic without prefixes."""
        return operation_of(self.mnemonic)

    @property
    def is_far_return(self) -> bool:
        """True for returns that load another code segment."""
        return self.is_return and self.operation.startswith(("retf", "iret"))

    @property
    def transfers_control(self) -> bool:
        """True for jumps, calls, returns and software interrupts."""
        return (
            self.is_call
            or self.is_branch
            or self.is_return
            or self.mnemonic.startswith(("int", "sys", "hlt", "ud"))
        )

    @property
    def branch_target(self) -> int | None:
        """The address that a direct jump or call goes to; None for anything else."""
        if (self.is_call or self.is_branch) and len(self.operands) == 1:
            operand = self.operands[0]
            if isinstance(operand, Immediate):
                return operand.value
        return None

    @property
    def is_position_dependent(self) -> bool:
        """True where the same bytes mean something else at another address."""
        if self.branch_target is not None:
            return True
        return any(isinstance(o, Memory) and o.base in ("rip", "eip") for o in self.operands)


@cache
def _decoder() -> Decoder:
    return Decoder()


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


def outline(code: bytes, address: int = 0, most: int = 0) -> Iterator[Outline]:
    """Decode ``code`` from its first byte on, cheaply; stop at the first invalid byte.

    ``most`` is the number of instructions that are decoded; 0 for all.
    """
    return map(Outline._make, outlines(code, address, most))


def decode(code: bytes, address: int = 0) -> Iterator[Instruction]:
    """Decode ``code`` from its first byte on; stop without error at the first invalid byte."""
    return map(_instruction, _decoder().decode(code, address, 0))


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


def decode_one(code: bytes, address: int = 0) -> Instruction | None:
    """The one instruction at the start of ``code``, or None where there is none."""
    found = decode_raw(code[:MAX_LENGTH])
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
