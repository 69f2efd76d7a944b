"""One instruction as a frozen value: its operands, and the registers that it names.

Registers have two names here: as written (``ecx``) and the 64-bit register that holds them
(``rcx``), because a signature binds the register, whatever width an instruction uses of it.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from typing import Final, NamedTuple

from kpatch.isa.mnemonics import operation_of

MAX_LENGTH: Final = 15  # SDM vol. 2, 2.3.11: an instruction is at most 15 bytes long

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
