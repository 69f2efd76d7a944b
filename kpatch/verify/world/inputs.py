"""What the trampolines depend on, on every way through them, for every value of it.

The emulation gives a register that the guest or the caller left one value or two. Here their
values do not count: what a trampoline decides, stores or addresses may come from nothing but the
state's address, the fields that the entry saves, the stack as the switch has left it, cpuid and
what stands behind it at the entry, addresses that the kernel linker fills in, and what the patch
itself has written. Nor may anything in the switch depend on a flag that the SDM leaves undefined.

The switch is followed from its entry to the change of cr3, and from the return into the kernel's
code segment to its ``ret``. (Between them nothing of the patch runs.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kpatch.elf.module import Module
from kpatch.isa.decode import REGISTERS, Immediate, Instruction, Memory, Register
from kpatch.isa.effects import FLAG_NAMES, beyond_baseline, effects_of
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.world.guest import COPY_AT
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.origins import (
    NONE,
    UNDEFINED,
    Machine,
    Origins,
    foreign,
    known,
    number,
    of,
    origins,
)
from kpatch.verify.world.places import Places
from kpatch.verify.world.transfer import Step
from kpatch.verify.world.world import World

_MOST_STEPS: Final = 20_000
_BIT_STRINGS: Final = frozenset({"bt", "bts", "btr", "btc"})
_STRING_STORES: Final = frozenset({"movs", "stos", "insb", "insd", "insw"})
_DIVISIONS: Final = frozenset({"div", "idiv"})
_LOADS_SYSTEM: Final = frozenset({"ltr", "lldt", "lgdt", "lidt", "lmsw"})


class Findings(NamedTuple):
    """``junk`` and ``undefined``: what the switch depends on and may not; ``unknown``: where it
    could not be told.
    """

    junk: tuple[str, ...]
    undefined: tuple[str, ...]
    unknown: tuple[str, ...]


def findings(
    world: World,
    module: Module,
    cpuid: int,
    displaced: frozenset[bytes],
    sites: tuple[range, ...],
) -> Findings:
    """Follow the patched switch of ``module``, which ``world`` was made of.

    ``cpuid`` is the offset that the patch was made for. ``displaced`` are the instructions of the
    sites: in a trampoline they may depend on what they depended on before. ``sites`` are the image
    offsets at which the patch has put code of its own.
    """
    places = Places(world, module, cpuid, sites)
    walk = _Walk(places, displaced, kernel=True)
    guest, layout = world.guest, world.guest.layout
    machine = _start("its caller", {"rdi": guest.state.virtual, "rsp": guest.rsp})
    ended = walk.follow(guest.entry, machine)
    if ended is None:
        walk.unknown.setdefault("no way leads from the entry to the monitor")
        return walk.found()
    back = _back(places, ended, layout.host_rsp)
    if back is None:
        walk.unknown.setdefault("where the entry saves the stack pointer")
        return walk.found()
    leave = _Walk(places, displaced, kernel=False)
    leave.follow(COPY_AT + layout.kernel_side, back)
    return Findings(*(tuple(dict.fromkeys((*one, *other)))
                      for one, other in zip(walk.found(), leave.found(), strict=True)))  # fmt: skip


def _start(whose: str, numbers: dict[str, int]) -> Machine:
    registers = {name: of({f"{name} as {whose} left it"}) for name in GENERAL}
    registers |= {name: known(value) for name, value in numbers.items()}
    flags: dict[str, Origins] = {
        name: frozenset({f"{name} as {whose} left it"}) for name in FLAG_NAMES
    }
    flags["DF"] = NONE  # psABI 3.2.1: clear at every call
    return Machine(registers, flags)


def _back(places: Places, ended: Machine, host_rsp: int) -> Machine | None:
    """The CPU when the kernel has it again: its memory, its stack, the guest's registers."""
    state = places.guest.state.virtual
    saved = tuple(places.byte(ended, state + host_rsp + at) for at in range(8))
    rsp = number(saved)
    if rsp is None:
        return None
    machine = _start(
        "the guest", {"rsp": rsp, **dict.fromkeys(places.guest.layout.state_at_exit, state)}
    )
    # What is not the switch's own in the state, the monitor and its guest may use.
    machine.memory = {
        at: byte
        for at, byte in ended.memory.items()
        if not places.is_state(at) or at in ended.saved
    }
    machine.saved = ended.saved
    return machine


class _Walk:
    """Follows all ways from one place, and notes what they depend on."""

    def __init__(self, places: Places, displaced: frozenset[bytes], *, kernel: bool) -> None:
        self.junk: dict[str, None] = {}
        self.undefined: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self._places = places
        self._displaced = displaced
        self._kernel = kernel
        self._ended: Machine | None = None

    def found(self) -> Findings:
        """What was noted, each once."""
        return Findings(tuple(self.junk), tuple(self.undefined), tuple(self.unknown))

    def follow(self, start: int, machine: Machine) -> Machine | None:
        """Every way to its end, to a fixed point; what holds at all ends."""
        reached = {start: machine}
        pending = [start]
        for _ in range(_MOST_STEPS):
            if not pending:
                return self._ended
            address = pending.pop()
            for successor, after in self._step(address, reached[address]):
                before = reached.get(successor)
                joined = after if before is None else before.joined(after)
                if before is None or joined != before:
                    reached[successor] = joined
                    pending.append(successor)
        self.unknown.setdefault(f"what holds after {_MOST_STEPS} steps")
        return self._ended

    def _step(self, address: int, machine: Machine) -> list[tuple[int, Machine]]:
        if address == RETURN_AT:
            return []
        each = self._places.instruction(address)
        effects = effects_of(each.raw) if each is not None else None
        if each is None or effects is None or not effects.understood:
            self.unknown.setdefault(f"what runs at {address:#x}")
            return []
        patch = self._places.is_patch(address)
        if patch and effects.doubts:
            self.unknown.setdefault(f"{effects.doubts[0]}: '{each.text}'")
        if patch:
            self._note_unusual(each)
        own = patch and each.raw not in self._displaced
        step = Step(self._places, machine, each, effects.effects, kernel=self._kernel, patch=own)
        self._note(step, own)
        if _writes_cr3(each):
            self._ended = machine if self._ended is None else self._ended.joined(machine)
            return []
        if each.transfers_control:
            return self._go(step)
        after = step.run()
        if number(after.registers["rsp"]) is None:
            self.unknown.setdefault(f"where the stack is after '{each.text}'")
            return []
        return [(each.end, after)]

    def _note_unusual(self, each: Instruction) -> None:
        if each.mnemonic.startswith("rep") and each.mnemonic.split()[-1][:4] in _STRING_STORES:
            self.unknown.setdefault(f"how much '{each.text}' stores")
        feature = beyond_baseline(each.raw)
        if feature:
            self.undefined.setdefault(f"'{each.text}' is another one on a CPU without {feature}")

    def _go(self, step: Step) -> list[tuple[int, Machine]]:
        each = step.each
        if each.is_far_return or not (each.is_call or each.is_branch or each.is_return):
            self.unknown.setdefault(f"where '{each.text}' goes")
            return []
        target: int | None
        if each.is_return:
            target = number(step.pop())
            step.drop(each.operands[0] if each.operands else None)
        elif each.branch_target is not None:
            target = each.branch_target % (1 << 64)
        else:
            target = number(step.value(each.operands[0]))
        if each.is_call:
            step.push(known(each.end))
        if step.mnemonic.startswith("loop"):
            step.run()
        if target is None:
            self.unknown.setdefault(f"where '{each.text}' goes")
            return []
        ways = [(target, step.after)]
        if each.is_branch and step.mnemonic != "jmp":
            ways.append((each.end, step.after.copy()))
        return ways

    def _note(self, step: Step, own: bool) -> None:
        each = step.each
        for what, names in _dependencies(step, self._places):
            undefined = sorted(name for name in names if name.startswith(UNDEFINED))
            for name in undefined:
                self.undefined.setdefault(f"{what} of '{each.text}' depends on {name}")
            others = sorted(foreign(names) - set(undefined))
            if own and others:
                self.junk.setdefault(f"{what} of '{each.text}' depends on {others[0]}")


def _writes_cr3(each: Instruction) -> bool:
    match each.operands:
        case (Register(name="cr3"), _):
            return True
        case _:
            return False


def _dependencies(step: Step, places: Places) -> list[tuple[str, Origins]]:
    """What an instruction decides or passes on, and where that comes from."""
    each = step.each
    found = [("the address", step.address_origins(o)) for o in step.memory_operands()]
    if step.mnemonic in _BIT_STRINGS and step.memory_operands():
        # SDM vol. 2, BT: a register names a bit anywhere in memory, from the operand on.
        found.append(("the address", origins(step.value(each.operands[1]))))
    conditional = each.is_branch and step.mnemonic != "jmp"
    if conditional or each.mnemonic.startswith("rep") or step.mnemonic in _DIVISIONS:
        found.append(("the outcome", step.sources()))
    if (each.is_call or each.is_branch) and each.branch_target is None:
        found.append(("the target", origins(step.value(each.operands[0]))))
    if step.mnemonic in _LOADS_SYSTEM:
        found.append(("the operand", origins(step.value(each.operands[0]))))
    target = each.operands[0] if each.operands else None
    if isinstance(target, Register) and target.name not in REGISTERS and len(each.operands) == 2:
        source = origins(step.value(each.operands[1])) - {target.name}
        found.append(("the operand", source))
    found += [("what is stored", names) for names in _stored(step, places)]
    return found


def _stored(step: Step, places: Places) -> list[Origins]:
    """The origins of what goes to memory other than the stack."""
    each = step.each
    found = []
    for at, operand in enumerate(each.operands):
        if not isinstance(operand, Memory) or operand not in step.memory_operands():
            continue
        address = step.address(operand)
        if address is not None and not operand.segment and places.is_stack(address):
            continue
        if at == 0 and step.mnemonic in _READ_ONLY:
            continue
        others = [o for n, o in enumerate(each.operands) if n != at]
        if at == 0 or step.mnemonic in ("xchg", "xadd"):
            names = NONE.union(
                *(origins(step.value(o)) for o in others if not isinstance(o, Immediate))
            )
            if step.mnemonic not in _PLAIN_STORES:
                names |= step.sources()
            found.append(names)
    return found


_READ_ONLY: Final = frozenset(
    {
        "cmp",
        "test",
        "bt",
        "push",
        "jmp",
        "call",
        "ltr",
        "lldt",
        "lgdt",
        "lidt",
        "str",
        "sldt",
        "sgdt",
        "sidt",
        "mul",
        "imul",
        "div",
        "idiv",
        "lmsw",
        "invlpg",
        "pop",
        "nop",
    }
)
_PLAIN_STORES: Final = frozenset({"mov", "xchg", "movabs"})
