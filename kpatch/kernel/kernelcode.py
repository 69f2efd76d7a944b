"""What a kernel's own code says where it has no debugging information.

``init_secondary`` sets up each further CPU. Where it writes the TSS descriptor to ``gdt[slot]`` and
loads the one ``r_gdt``, all CPUs share a GDT; where it takes ``gdt[NGDT * cpu + slot]`` and a
descriptor of its own, each has one (sys/amd64/amd64/mp_machdep.c). And code that reads a 32-bit
field of ``struct pcpu`` and takes it as the number of a bit or an element reads cpuid, as
cpu_switch does (sys/amd64/amd64/cpu_switch.S).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal, NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Symbol
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Immediate, Instruction, Memory, Register
from kpatch.kernel.addressflow import Known, Use, address_of, uses, value_of
from kpatch.kernel.kernels import OneGdt
from kpatch.units import ADDRESS_MASK

_LARGEST_FUNCTION: Final = 16 << 10  # init_secondary has about 1.5 kB
_BASE_AT: Final = 2
"""The base behind the limit. SDM vol. 3, 2.4.1: what lgdt loads is 2 bytes of limit, 8 of base."""

# SDM vol. 2, MOV: 8B /r; with GS, and an address that is a displacement alone (a SIB of 0x25).
_GS_LOAD: Final = re.compile(rb"\x65[\x40\x44]?\x8b[\x04\x0c\x14\x1c\x24\x2c\x34\x3c]\x25", re.S)
_MOST_LOADS: Final = 5_000
_FOLLOWED: Final = 8
"""Instructions behind such a load in which its use is looked for; cpu_switch has two between."""

_BITS: Final = ("bt", "bts", "btr", "btc")
_SHIFTS: Final = ("shl", "sal", "shlx", "rol")


class KernelCode(NamedTuple):
    """What the code says. ``gdt`` None: it cannot be told.

    ``cpu_numbers`` are the offsets in ``struct pcpu``, in bytes, of the fields that are used as the
    number of a CPU, and how often that was seen.
    """

    gdt: OneGdt | None
    cpu_numbers: tuple[tuple[int, int], ...]


def read_code(kernel: Module) -> KernelCode | None:
    """What the code of a linked amd64 kernel says; None where it says nothing."""
    found = KernelCode(_gdt(kernel), tuple(sorted(_cpu_numbers(kernel).items())))
    return found if found.gdt or found.cpu_numbers else None


def _gdt(kernel: Module) -> OneGdt | None:
    """Whether the CPUs share a GDT: the slot and what lgdt loads must say the same."""
    function, table = kernel.defined("init_secondary"), kernel.defined("gdt")
    if function is None or table is None:
        return None
    code = uses(tuple(_function(kernel, function)))
    descriptors = {_loaded(instruction, kernel, table) for instruction in code} - {None}
    slots = {kind for instruction in code for kind in _kinds(instruction, table)}
    if len(descriptors) != 1:
        return None
    (descriptor,) = descriptors
    if descriptor == "shared":
        return "shared" if "indexed" not in slots else None
    return "private" if "indexed" in slots else None


def _loaded(use: Use, kernel: Module, table: Symbol) -> Literal["shared", "own"] | None:
    """What an lgdt loads: the descriptor of all CPUs, or one that was made for this CPU."""
    instruction = use.instruction
    if instruction.mnemonic == "lgdt" and isinstance(instruction.operands[0], Memory):
        descriptor = address_of(instruction.operands[0], instruction, use.state)
    elif instruction.is_call and _is_lgdt(kernel, instruction.branch_target):
        descriptor = use.state.get("rdi")
    else:
        return None
    if descriptor is None:
        return "own"  # it counts only where the slot says the same
    at = descriptor.at + _BASE_AT
    base = use.state.get(at if descriptor.kind == "stack" else ("at", at))
    if base is not None and _is_in(base, table):
        return "shared" if base.kind == "fixed" else "own"
    return "shared" if descriptor.kind == "fixed" else "own"


def _kinds(use: Use, table: Symbol) -> Iterator[str]:
    """How the instruction uses the GDT's address: as it is, or with an index."""
    instruction, state = use
    values: list[Known | None] = []
    if instruction.is_call:
        values += [state.get("rdi"), state.get("rsi"), state.get("rdx")]
    elif instruction.mnemonic != "lea":
        places = [operand for operand in instruction.operands if isinstance(operand, Memory)]
        values += [address_of(place, instruction, state) for place in places]
        if instruction.mnemonic == "mov" and places and places[0] is instruction.operands[0]:
            values.append(value_of(instruction.operands[1], instruction, state))
    for known in values:
        if known is not None and known.kind != "stack" and _is_in(known, table):
            yield known.kind


def _is_in(value: Known, table: Symbol) -> bool:
    return table.value <= value.at < table.value + max(table.size, 1)


def _is_lgdt(kernel: Module, target: int | None) -> bool:
    """Whether a function loads the GDT register from what its first argument points to."""
    symbol = kernel.defined("lgdt")
    if symbol is None or target is None or target & ADDRESS_MASK != symbol.value:
        return False
    first = next(_function(kernel, symbol, 64), None)
    if first is None or first.mnemonic != "lgdt":
        return False
    operand = first.operands[0]
    return isinstance(operand, Memory) and (operand.base, operand.displacement) == ("rdi", 0)


def _function(
    kernel: Module, symbol: Symbol, most: int = _LARGEST_FUNCTION
) -> Iterator[Instruction]:
    sections = kernel.sections
    section = sections[symbol.section] if symbol.section < len(sections) else None
    if section is None or not section.is_code or not section.has_bytes:
        return iter(())
    start = symbol.value - section.address
    if not 0 <= start < section.size:
        return iter(())
    end = start + min(symbol.size or most, most)
    return decode(bytes(kernel.contents(section)[start:end]), symbol.value)


def _cpu_numbers(kernel: Module) -> Counter[int]:
    """Offsets of the 32-bit fields behind GS that are used as the number of a CPU."""
    found: Counter[int] = Counter()
    for section in kernel.sections:
        if section.is_code and section.type == elf.SHT_PROGBITS:
            code = bytes(kernel.contents(section))
            for match in islice(_GS_LOAD.finditer(code), _MOST_LOADS):
                window = code[match.start() : match.start() + 15 * _FOLLOWED]
                offset = _used_as_number(tuple(islice(decode(window), 1 + _FOLLOWED)))
                if offset is not None:
                    found[offset] += 1
    return found


def _used_as_number(code: tuple[Instruction, ...]) -> int | None:
    """The offset that the first instruction loads, if what follows takes it as a number."""
    if not code or len(code[0].operands) != 2:
        return None
    load, *rest = code
    target, source = load.operands
    if not isinstance(target, Register) or not isinstance(source, Memory) or target.size != 4:
        return None
    holders = {target.whole}
    for instruction in rest:
        if _takes_as_number(instruction, holders):
            return source.displacement
        if instruction.transfers_control or not holders:
            return None
        copied = _is_copy(instruction, holders)
        holders -= instruction.writes
        if copied and isinstance(instruction.operands[0], Register):
            holders.add(instruction.operands[0].whole)
    return None


def _is_copy(instruction: Instruction, holders: set[str]) -> bool:
    if instruction.mnemonic in ("cdqe", "cltq"):
        return "rax" in holders
    if instruction.mnemonic not in ("mov", "movsxd", "movzx", "movsx"):
        return False
    first, second = instruction.operands
    return (
        isinstance(first, Register)
        and isinstance(second, Register)
        and second.whole in holders
        and min(first.size, second.size) >= 4
    )


def _takes_as_number(instruction: Instruction, holders: set[str]) -> bool:
    """Whether it numbers a bit or an element by one of ``holders``."""
    operands, name = instruction.operands, instruction.mnemonic.removeprefix("lock ")
    last = operands[-1] if operands else None
    if name in _BITS or name in _SHIFTS:
        return isinstance(last, Register) and last.whole in holders
    if name == "imul":
        factors = [operand for operand in operands[-2:] if isinstance(operand, Register)]
        return isinstance(last, Immediate) and any(factor.whole in holders for factor in factors)
    return any(
        isinstance(operand, Memory) and operand.index in holders and operand.scale > 1
        for operand in operands
    )
