"""Random code in the exit trampoline: what `inputs` lets pass may not depend on junk.

``python -m tests.verify.mutants.junk_campaign SEED SECONDS`` writes snippets of random
instructions, asks the check of each, and runs those that hold with several values of what the
guest leaves: the switch must end alike. It prints every snippet that does not, and ends with 1 if
there was one.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from typing import Final

from kpatch.errors import KpatchError
from kpatch.verify.machine.same_effect import COMPARED, Alone, compared
from kpatch.verify.proof.tasks import Bounds, Case
from kpatch.verify.proof.whole_switch import inputs_of
from kpatch.verify.world.guest import COPY_AT
from kpatch.verify.world.world import World
from tests.verify.mutants.machine_state import leave
from tests.verify.mutants.variant import LEAVE, Variant

_REGISTERS: Final = ("r9", "r10", "r11", "rbx", "r12")
_LEFT: Final = ("rax", "rcx", "rdx", "rsi", "r8", *_REGISTERS)
_NUMBERS: Final = (0, 1, 3, 5, 0x7F, 0xF0, 0xFF00)
_FLAGS: Final = (0, 0x8D5, 0x41, 0x80)  # of the six status flags none, all, and some
_ENDS: Final = (
    "test r9, r9; je fine; xor eax, eax; fine:",
    "mov qword [r8 + 64], r9",
    "jb fine; mov dword [r8 + 64], 0; fine:",
    "push r9; pop r10; mov byte [r8 + 64], r10b",
)
_FORMS: Final = (
    "mov {a}, {b}", "mov {a}, {n}", "xor {a}, {a}", "and {a}, {n}", "and {a}, {b}", "add {a}, {b}",
    "sub {a}, {n}", "xor {a}, {b}", "or {a}, {n}", "xchg {a}, {b}", "shl {a}, {s}", "shr {a}, {s}",
    "push {wa}; pop {wb}", "cmp {a}, {n}", "test {a}, {b}", "cmove {wa}, {wb}", "cmovb {wa}, {wb}",
    "adc {a}, {n}", "sbb {a}, {b}", "bswap {wa}", "not {a}", "neg {a}", "imul {wa}, {wb}",
    "lea {wa}, [{wb} + {n}]", "inc {a}", "pushfq; pop {wa}", "rcl {a}, 1", "ror {a}, {s}",
    "mov ecx, {s}; shl {a}, cl", "push {wa}; mov {wb}, {n}; xchg qword [rsp], {wb}; pop {wa}",
)  # fmt: skip

Outcome = tuple[str, tuple[int, ...], tuple[bytes, ...]]
"""Why it did not return, the registers that are compared, and the memory that is."""


def view(register: str, size: int) -> str:
    """A part of a register, by its name."""
    if register[1:].isdigit():
        return register + {8: "", 4: "d", 2: "w"}[size]
    return {8: register, 4: "e" + register[1:], 2: register[1:]}[size]


def snippet(draw: random.Random) -> str:
    """A few instructions, and one that makes something of them."""
    lines = []
    for _ in range(draw.randrange(2, 9)):
        size, whole, other = draw.choice((8, 4, 2)), *draw.choices(_REGISTERS, k=2)
        number = draw.choice(_NUMBERS) & 0x7FFF
        lines.append(
            draw.choice(_FORMS).format(
                a=view(whole, size), b=view(other, size), wa=whole, wb=other, n=number,
                s=draw.randrange(1, 9),
            )
        )  # fmt: skip
    return "; ".join((*lines, draw.choice(_ENDS)))


def outcome(world: World, junk: Mapping[str, int]) -> Outcome:
    """How a round ends if the kernel has the CPU back with ``junk`` in its registers."""
    alone = Alone(world, 0)
    alone.round({COPY_AT + world.guest.layout.kernel_side})
    alone.engine.write_registers(junk)
    failure = alone.go_on()
    registers = tuple(alone.registers[name] for name in COMPARED)
    memory = (*compared(world), *world.lock_regions)
    return failure, registers, tuple(alone.contents(each) for each in memory)


def outcomes(case: Case, draw: random.Random) -> set[Outcome]:
    """How the switch ends, whatever the guest leaves."""
    found = set()
    for flags in _FLAGS:
        junk = {name: draw.choice((0, draw.getrandbits(64), (1 << 64) - 1)) for name in _LEFT}
        setup = case.setup(case.module, LEAVE, Bounds())
        found.add(outcome(setup.world, {**junk, "rflags": flags | 2}))
    return found


def main(seed: int, seconds: float) -> int:
    """The campaign. Returns the exit code."""
    draw, end = random.Random(seed), time.process_time() + seconds
    tried = held = wrong = 0
    while time.process_time() < end:
        text = snippet(draw)
        try:
            case = Variant(text, (leave(text),)).case
        except KpatchError:
            continue  # the assembler cannot
        tried += 1
        if not all(each.holds for each in inputs_of(case)):
            continue
        held += 1
        if len(outcomes(case, draw)) > 1:
            wrong += 1
            print(f"depends on junk: {text}")
    print(f"seed {seed}: {tried} snippets, {held} hold, {wrong} of them depend on junk")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
