"""Negative controls: what the verifier must refute, in the same run.

A verdict counts only if the same run finds what is wrong with the unpatched module, and with the
same patch without its lock. If it does not, the check cannot fail, and proves nothing.

What a lock is, is not looked for in the code. It is taken away from the machine instead: each CPU
gets a copy of its own of the memory in which the patch keeps what its CPUs share, so that
nobody ever waits for anybody; and no instruction but ``ltr`` is locked, so that a lock which is
part of the descriptor goes, too. Whatever orders the critical sections, an exchange, a ticket or
plain stores, is gone then, and nothing else has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kpatch.elf.module import Module, read_module
from kpatch.errors import VerificationError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode
from kpatch.isa.instruction import NOP, Instruction, Memory, Register
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof.obligations import Obligation

UNPATCHED: Final = "the unpatched module"
LOCKLESS: Final = "the patch without its lock"


@dataclass(frozen=True, slots=True)
class Control:
    """A module that must fail, the obligation that it must fail, and the properties expected.

    Without ``locks`` it runs on a machine in which nothing orders the CPUs.
    """

    name: str
    module: Module
    obligation: Obligation
    expected: frozenset[str]
    locks: bool


def controls(
    patched: Module, original: Module, models: tuple[MemoryModel, ...]
) -> tuple[Control, ...]:
    """The controls for each memory model."""
    made = []
    for model in models:
        where = Obligation(LEAVE, 2, model)
        race = frozenset({"own-tss", "no-fault"})
        made.append(Control(UNPATCHED, original, where, frozenset({"own-tss"}), locks=True))
        made.append(Control(LOCKLESS, patched, where, race, locks=False))
    return tuple(made)


def without_lock(patched: Module, original: Module) -> Module:
    """The patched module with its lock always free: each locked exchange reads zero.

    For machines from which a lock cannot be taken away, such as real ones. Raises
    VerificationError where the patch's code has no such exchange.
    """
    image = bytearray(patched.data)
    known = {section.name for section in original.sections}
    found = 0
    for section in patched.sections:
        if not (section.is_code and section.name not in known):
            continue
        for instruction in decode(patched.contents(section)):
            free = _always_free(instruction)
            if free is not None:
                at = section.offset + instruction.address
                image[at : at + len(instruction.raw)] = free
                found += 1
    if not found:
        raise VerificationError(
            "the patch has no locked exchange, so the control without the lock cannot be made",
            where=patched.name,
            todo="take the patch back with 'kpatch revert' and apply it again",
        )
    return read_module(bytes(image), f"{patched.name} (without its lock)")


def _always_free(each: Instruction) -> bytes | None:
    """``xor reg, reg`` in the place of ``xchg [lock], reg``; None for other instructions."""
    if each.mnemonic != "xchg" or not any(isinstance(o, Memory) for o in each.operands):
        return None
    register = next(o for o in each.operands if isinstance(o, Register))
    code = assemble(f"xor {register.name}, {register.name}")
    if len(code) > len(each.raw):
        return None
    return code + NOP * (len(each.raw) - len(code))
