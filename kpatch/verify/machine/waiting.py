"""Who only looks while he waits: he cannot count the rounds that others make meanwhile.

Explorations of rounds without end show that, where they come to an end. Where they do not, as with
tickets, it is seen in the code: each loop that touches shared memory does nothing but load and
compare, so it comes round with the registers that it began with, but for what it has just loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from kpatch.isa.decode import decode_one
from kpatch.isa.instruction import MAX_LENGTH, Instruction, Memory, Register
from kpatch.verify.machine.setup import Setup
from kpatch.verify.world.kernel_text import RETURN_AT

_LOOKS: Final = frozenset({"cmp", "test", "pause", "nop", "jmp"})
_LOADS: Final = frozenset({"mov", "movzx"})
_FLAGS: Final = frozenset({"ja", "jae", "jb", "jbe", "je", "jne"})


def only_looks(setup: Setup) -> bool:
    """Whether every loop that was seen to touch shared memory only looks."""
    flow = setup.flow()
    touching = setup.instructions_on([(cell.start, cell.end) for cell in setup.ranges])
    return all(_looks(setup, address) for start in touching for address in loop_of(flow, start))


def loop_of(flow: Mapping[int, Set[int]], start: int) -> frozenset[int]:
    """The addresses on ways from an instruction back to it, within one round."""
    behind: dict[int, set[int]] = {}
    for address, following in flow.items():
        for after in following:
            behind.setdefault(after, set()).add(address)
    return _reached(flow, start) & _reached(behind, start)


def _reached(flow: Mapping[int, Set[int]], start: int) -> frozenset[int]:
    """What comes after ``start`` on some way that does not end the round."""
    found: set[int] = set()
    todo = [start]
    while todo:
        for after in flow.get(todo.pop(), ()):
            if after != RETURN_AT and after not in found:
                found.add(after)
                todo.append(after)
    return frozenset(found)


def _looks(setup: Setup, address: int) -> bool:
    instruction = decode_one(setup.world.code_at(address, MAX_LENGTH), address)
    return instruction is not None and _is_look(instruction)


def _is_look(instruction: Instruction) -> bool:
    mnemonic = instruction.mnemonic
    match instruction.operands:
        case (Register(size=size), Memory()) if mnemonic in _LOADS:
            return size >= 4  # all of the register: SDM vol. 1, 3.4.1.1
        case _:
            return mnemonic in _LOOKS or mnemonic in _FLAGS
