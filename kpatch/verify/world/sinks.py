"""What an instruction decides or passes on: where values begin to matter."""

from __future__ import annotations

from typing import Final

from kpatch.isa.instruction import REGISTERS, Immediate, Instruction, Memory, Register
from kpatch.verify.world.origins import CHANGED_FLAGS, FLAGS, NONE, Origins, origins
from kpatch.verify.world.places import Places
from kpatch.verify.world.transfer import Transfer

_BIT_STRINGS: Final = frozenset({"bt", "bts", "btr", "btc"})
_STRINGS: Final = frozenset({
    "movs", "stos", "lods", "cmps", "scas", "insb", "insd", "insw", "outs",
})  # fmt: skip
"""The first letters of string instructions."""
_DIVISIONS: Final = frozenset({"div", "idiv"})
_LOADS_SYSTEM: Final = frozenset({"ltr", "lldt", "lgdt", "lidt", "lmsw"})
_ONLY_READ: Final = frozenset({
    "cmp", "test", "bt", "push", "jmp", "call", "mul", "imul", "div", "idiv", "invlpg", "nop",
    "clflush", "prefetchw", "verr", "verw", *_LOADS_SYSTEM,
})  # fmt: skip
"""Do not write their first operand where it is memory."""

_STORE_TABLES: Final = frozenset({"str", "sldt", "sgdt", "sidt"})
_PLAIN_STORES: Final = frozenset({"mov", "xchg", "movabs"})
_SYSTEM_STATE: Final = frozenset({
    "std", "popf", "popfd", "lidt", "lgdt", "lldt", "ltr", "lmsw", "clts", "swapgs",
})  # fmt: skip
"""Change what the monitor finds, beside moves to control, debug and segment registers."""
_SEGMENTS: Final = frozenset({"ss", "ds", "es", "fs", "gs"})
_MADE_GOOD: Final = frozenset({"cr0", *_SEGMENTS})
"""Loaded anew behind the exit: cr0 and ss by the switch, the others by C."""
_OUTLIVES: Final = frozenset({"lidt", "lldt", "swapgs"})
_TABLE_SIZE: Final = 10


def dependencies(step: Transfer, places: Places) -> list[tuple[str, Origins]]:
    """What an instruction decides or passes on, and where that comes from."""
    instruction = step.instruction
    found = [("the address", step.address_origins(o)) for o in step.memory_operands()]
    if step.mnemonic in _BIT_STRINGS and step.memory_operands():
        # SDM vol. 2, BT: a register names a bit anywhere in memory, from the operand on.
        found.append(("the address", origins(step.value(instruction.operands[1]))))
    conditional = instruction.is_branch and step.mnemonic != "jmp"
    if conditional or is_repeated(instruction) or step.mnemonic in _DIVISIONS:
        found.append(("the outcome", step.sources()))
    if (instruction.is_call or instruction.is_branch) and instruction.branch_target is None:
        found.append(("the target", origins(step.value(instruction.operands[0]))))
    if step.mnemonic in _LOADS_SYSTEM:
        found.append(("the operand", origins(step.value(instruction.operands[0]))))
    target = instruction.operands[0] if instruction.operands else None
    if isinstance(target, Register) and target.name not in REGISTERS and step.mnemonic != "push":
        popped = step.mnemonic == "pop"
        source = origins(step.top() if popped else step.value(instruction.operands[-1]))
        # A selector names another descriptor in the kernel's tables than in the monitor's.
        kept = NONE if target.name in _SEGMENTS else {target.name}
        found.append(("the operand", source - kept))
    found += [("what is stored", names) for names in _stored(step, places)]
    return found


def is_repeated(instruction: Instruction) -> bool:
    """Whether it is done as often as rcx says. SDM vol. 2, REP: string instructions only; what
    compilers write as ``rep ret`` is a return.
    """
    return instruction.mnemonic.startswith("rep") and instruction.operation[:4] in _STRINGS


def stored_to(step: Transfer) -> tuple[Memory, ...]:
    """The memory operands that it may write."""
    return tuple(
        operand
        for at, operand in enumerate(step.instruction.operands)
        if isinstance(operand, Memory)
        and operand in step.memory_operands()
        and (at == 0 or step.mnemonic in ("xchg", "xadd"))
        and step.mnemonic not in _ONLY_READ
    )


def _stored(step: Transfer, places: Places) -> list[Origins]:
    """The origins of what goes to memory other than the stack."""
    found = []
    for operand in stored_to(step):
        address = step.address(operand)
        own = address is not None and not operand.segment and places.is_stack(address)
        if own or step.mnemonic in _STORE_TABLES:
            continue
        others = [
            o for o in step.instruction.operands if o != operand and not isinstance(o, Immediate)
        ]
        names = NONE.union(*(origins(step.value(other)) for other in others))
        if step.mnemonic == "pop":
            names |= origins(step.top())
        elif step.mnemonic not in _PLAIN_STORES:
            names |= step.sources()
        found.append(names)
    return found


def changes_system(step: Transfer) -> bool:
    """Whether it may change what is handed over to the monitor and that the kernel has no need to
    get back as it was: explorations look at what comes back.
    """
    target = step.instruction.operands[0] if step.instruction.operands else None
    if step.mnemonic in ("mov", "pop"):
        return isinstance(target, Register) and target.name not in REGISTERS
    if step.mnemonic == "popfq":
        whole = {*FLAGS, CHANGED_FLAGS}
        popped = zip(FLAGS, step.top(), strict=True)
        return any(byte.origins & whole != {name} for name, byte in popped)
    return step.mnemonic in _SYSTEM_STATE


def outlives(step: Transfer) -> bool:
    """Whether it may change, at the exit, what the kernel keeps: explorations compare that as far
    as the emulated kernel sets it, and other kernels set other bits of cr4, or a debug register.
    A GDT, too, unless it is the one that the entry has saved: an NMI takes its code segment there.
    """
    target = step.instruction.operands[0] if step.instruction.operands else None
    if step.mnemonic == "lgdt" and isinstance(target, Memory):
        at = step.address(target)
        return at is None or not step.before.saved.issuperset(range(at, at + _TABLE_SIZE))
    if step.mnemonic in ("mov", "pop"):
        return isinstance(target, Register) and target.name not in {*REGISTERS, *_MADE_GOOD}
    return step.mnemonic in _OUTLIVES


def writes_cr3(instruction: Instruction) -> bool:
    """Whether the CPU has other page tables behind it."""
    match instruction.operands:
        case (Register(name="cr3"), _):
            return True
        case _:
            return False
