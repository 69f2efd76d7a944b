"""Which addresses a function works with: constants, places on its stack, elements of arrays.

A small abstract interpretation (a forward data flow over the function's own jumps, joined where
ways meet). It knows what a compiler makes of ``&array``, ``&array[i]`` and ``&local``; everything
else is unknown. Calls leave what the ABI says they leave (System V ABI for amd64, 3.2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from kpatch.isa.calling import DESTROYED
from kpatch.isa.instruction import Immediate, Instruction, Memory, Operand, Register
from kpatch.units import ADDRESS_MASK

_MOST_STEPS: Final = 50_000
"""Instructions that are gone through, some of them often; init_secondary has about 300."""


class Known(NamedTuple):
    """What is known of 64 bits.

    ``fixed``: the number ``at``. ``indexed``: ``at`` and something that is not known, as the
    address of an array's element is. ``stack``: the place ``at`` bytes from where rsp was when
    the function was entered.
    """

    kind: Literal["fixed", "indexed", "stack"]
    at: int


class Use(NamedTuple):
    """One instruction, and what is known in front of it.

    ``state`` has registers by name, 8-byte words on the stack by their distance, and 8-byte words
    at fixed addresses by ``("at", address)``.
    """

    instruction: Instruction
    state: Flow


Key = str | int | tuple[Literal["at"], int]
Flow = Mapping[Key, Known]


def uses(code: Sequence[Instruction]) -> tuple[Use, ...]:
    """What is known in front of each instruction that can be reached; empty where it is too much.

    ``code`` is one function, in the order of its addresses.
    """
    by_address = {instruction.address: instruction for instruction in code}
    if not code:
        return ()
    known: dict[int, dict[Key, Known]] = {code[0].address: {"rsp": Known("stack", 0)}}
    todo = [code[0].address]
    for _ in range(_MOST_STEPS):
        if not todo:
            return tuple(Use(by_address[a], known[a]) for a in sorted(known))
        address = todo.pop()
        instruction = by_address[address]
        after = _after(instruction, known[address])
        for following in _followers(instruction):
            if following not in by_address:
                continue
            joined = _joined(known.get(following), after)
            if joined != known.get(following):
                known[following] = joined
                todo.append(following)
    return ()


def address_of(operand: Memory, instruction: Instruction, state: Flow) -> Known | None:
    """The address that a memory operand names, as far as it is known."""
    if operand.segment is not None:
        return None
    if operand.base == "rip":
        return Known("fixed", (instruction.end + operand.displacement) & ADDRESS_MASK)
    total: Known | None = Known("fixed", operand.displacement & ADDRESS_MASK)
    for register, scale in ((operand.base, 1), (operand.index, operand.scale)):
        if register is not None:
            part = state.get(register)
            total = _sum(total, part if scale == 1 else _scaled(part, scale))
    return total


def value_of(operand: Operand, instruction: Instruction, state: Flow) -> Known | None:
    """What an operand of 8 bytes holds, as far as it is known."""
    if isinstance(operand, Immediate):
        return Known("fixed", operand.value & ADDRESS_MASK)
    if isinstance(operand, Register):
        return state.get(operand.name)
    place = _key(address_of(operand, instruction, state))
    return None if place is None or operand.size != 8 else state.get(place)


def _followers(instruction: Instruction) -> Iterator[int]:
    target = None if instruction.is_call else instruction.branch_target
    if target is not None:
        yield target & ADDRESS_MASK  # Capstone gives the upper half of the addresses as negative
    if not instruction.is_return and instruction.mnemonic not in ("jmp", "ud2", "hlt"):
        yield instruction.end


def _joined(one: dict[Key, Known] | None, other: dict[Key, Known]) -> dict[Key, Known]:
    if one is None:
        return other
    return {key: value for key, value in one.items() if other.get(key) == value}


def _after(instruction: Instruction, state: Mapping[Key, Known]) -> dict[Key, Known]:
    """What is known behind an instruction."""
    left = dict(state)
    if instruction.is_call:
        for register in DESTROYED:
            left.pop(register, None)
        return left
    result = _result(instruction, state)
    for written in instruction.writes:
        left.pop(written, None)
    if instruction.mnemonic in ("push", "pop"):
        _push_or_pop(instruction, state, left)
        return left
    if not instruction.operands:
        return left
    first = instruction.operands[0]
    if isinstance(first, Memory) and instruction.mnemonic not in ("cmp", "test", "lea"):
        _store(first, instruction, state, left, result)
    elif isinstance(first, Register) and result is not None and first.whole in instruction.writes:
        left[first.whole] = result
    return left


def _result(instruction: Instruction, state: Flow) -> Known | None:
    """What the instruction leaves in its first operand."""
    operands = instruction.operands
    if len(operands) < 2:
        return None
    first, second = operands[0], operands[1]
    if instruction.mnemonic == "lea" and isinstance(second, Memory):
        return address_of(second, instruction, state) if _is_wide(first) else None
    if instruction.mnemonic == "xor" and isinstance(first, Register) and first == second:
        return Known("fixed", 0)
    if instruction.mnemonic in ("mov", "movabs"):
        if isinstance(first, Register) and first.size == 4 and isinstance(second, Immediate):
            return Known("fixed", second.value & 0xFFFFFFFF)  # SDM vol. 1, 3.4.1.1: zero-extended
        return value_of(second, instruction, state) if _is_wide(first) else None
    if instruction.mnemonic in ("add", "sub") and _is_wide(first) and len(operands) == 2:
        one = value_of(first, instruction, state)
        other = value_of(second, instruction, state)
        if instruction.mnemonic == "add":
            return _sum(one, other)
        if one is not None and other is not None and other.kind == "fixed":
            return one._replace(at=(one.at - other.at) & ADDRESS_MASK)
    return None


def _is_wide(operand: Operand) -> bool:
    return operand.size == 8


def _push_or_pop(instruction: Instruction, state: Flow, left: dict[Key, Known]) -> None:
    rsp = state.get("rsp")
    if rsp is None:
        return
    if instruction.mnemonic == "push":
        below = rsp._replace(at=(rsp.at - 8) & ADDRESS_MASK)
        left["rsp"] = below
        value = value_of(instruction.operands[0], instruction, state)
        _put(below, 8, value, left)
    else:
        left["rsp"] = rsp._replace(at=(rsp.at + 8) & ADDRESS_MASK)


def _store(
    place: Memory,
    instruction: Instruction,
    state: Flow,
    left: dict[Key, Known],
    value: Known | None,
) -> None:
    address = address_of(place, instruction, state)
    if address is not None:
        _put(address, place.size, value if place.size == 8 else None, left)


def _put(address: Known, size: int, value: Known | None, left: dict[Key, Known]) -> None:
    key = _key(address)
    if key is None:
        return
    for near in range(-7, size):
        beside = _key(address._replace(at=(address.at + near) & ADDRESS_MASK))
        if beside is not None:
            left.pop(beside, None)
    if value is not None:
        left[key] = value


def _key(address: Known | None) -> Key | None:
    if address is None or address.kind == "indexed":
        return None
    return address.at if address.kind == "stack" else ("at", address.at)


def _sum(one: Known | None, other: Known | None) -> Known | None:
    """The sum: a number and something unknown is an element of what lies at that number."""
    if one is None:
        return _element(other)
    if other is None:
        return _element(one)
    if one.kind == "fixed":
        return other._replace(at=(one.at + other.at) & ADDRESS_MASK)
    if other.kind == "fixed":
        return one._replace(at=(one.at + other.at) & ADDRESS_MASK)
    return None


def _element(array: Known | None) -> Known | None:
    """What lies an unknown number of bytes behind ``array``."""
    if array is None or array.kind == "stack" or array.at == 0:
        return None
    return Known("indexed", array.at)


def _scaled(value: Known | None, scale: int) -> Known | None:
    if value is None or value.kind != "fixed":
        return None
    return Known("fixed", (value.at * scale) & ADDRESS_MASK)
