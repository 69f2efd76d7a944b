"""The bytes that the kernel linker fills in: of the module, and of the image where it is copied to.

They are others wherever the module or the kernel lies. In an instruction they may be a whole number
or a whole distance: what it does is then the same, to another number. Anything else of it that they
are, its operation or a part of a distance, makes it another instruction at other addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from kpatch.elf import constants as elf
from kpatch.isa.decode import decode_one
from kpatch.isa.instruction import Immediate, Instruction, Memory, Operand

_OTHERS: Final = (0x55, 0x2A)
"""What a byte is changed by, to see whether it is more than a number."""


class FilledField(NamedTuple):
    """Where it is, its bytes, and the type of its relocation."""

    at: int
    width: int
    type: int


class Filled:
    """Knows these bytes by their address."""

    def __init__(self, fields: Iterable[FilledField]) -> None:
        self._fields = {
            at: field for field in fields for at in range(field.at, field.at + field.width)
        }

    def __contains__(self, address: int) -> bool:
        return address in self._fields

    def between(self, start: int, end: int) -> bool:
        """Whether there is one from ``start`` on and before ``end``."""
        return any(at in self._fields for at in range(start, end))

    def makes_another(self, instruction: Instruction) -> bool:
        """Whether it is another instruction with other bytes there, or another way that it goes."""
        found = {
            self._fields[at]
            for at in range(instruction.address, instruction.end)
            if at in self._fields
        }
        return any(_is_more(field, instruction) for field in found)


def _is_more(field: FilledField, instruction: Instruction) -> bool:
    if not instruction.address <= field.at <= instruction.end - field.width:
        return True
    if instruction.branch_target is not None:
        # From one place of the module to another it is as far wherever that lies.
        return field.type != elf.R_X86_64_PC32 or field.at != instruction.end - field.width
    at = field.at - instruction.address
    for change in _OTHERS:
        raw = bytearray(instruction.raw)
        raw[at : at + field.width] = (byte ^ change for byte in raw[at : at + field.width])
        other = decode_one(bytes(raw), instruction.address)
        if other is None or _form(other) != _form(instruction):
            return True
    return False


def _form(instruction: Instruction) -> tuple[str, int, tuple[Operand, ...]]:
    """The instruction, whatever the numbers in it are."""
    operands = tuple(map(_without_number, instruction.operands))
    return instruction.mnemonic, len(instruction.raw), operands


def _without_number(operand: Operand) -> Operand:
    match operand:
        case Immediate():
            return operand._replace(value=0)
        case Memory():
            return operand._replace(displacement=0)
        case _:
            return operand
