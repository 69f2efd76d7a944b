"""Follows code on all its ways, to a fixed point, and notes what it depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kpatch.isa.agreed import beyond_baseline, effects_of
from kpatch.isa.effects import FLAG_NAMES
from kpatch.isa.instruction import Instruction
from kpatch.isa.prefixes import contradict
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.world.displaced import Displaced
from kpatch.verify.world.findings import Findings
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.origins import (
    ADDRESSES,
    CALCULATED,
    GDT,
    LINKED,
    NONE,
    OF_DATA,
    PLACED,
    PLACES,
    SHARED,
    STACK,
    TSS,
    UNDEFINED,
    Machine,
    Origins,
    foreign,
    known,
    number,
    of,
    pointer,
)
from kpatch.verify.world.places import Places
from kpatch.verify.world.sinks import changes_system, dependencies, outlives, stored_to, writes_cr3
from kpatch.verify.world.transfer import Transfer

_MOST_STEPS: Final = 20_000
_DECIDED: Final = frozenset({"the outcome", "the operand", "the target"})
_STRING_STORES: Final = frozenset({"movs", "stos", "insb", "insd", "insw"})


def started(whose: str, numbers: dict[str, int]) -> Machine:
    """The CPU with everything as somebody left it, but for these ``numbers``: addresses of the
    stack and the state.
    """
    registers = {name: of({f"{name} as {whose} left it"}) for name in GENERAL}
    registers |= {name: pointer(value) for name, value in numbers.items()}
    flags: dict[str, Origins] = {
        name: frozenset({f"{name} as {whose} left it"}) for name in FLAG_NAMES
    }
    flags["DF"] = NONE  # psABI 3.2.1: clear at every call
    return Machine(registers, flags)


class Walk:
    """Follows all ways from one place, and notes what they depend on."""

    def __init__(
        self,
        places: Places,
        displaced: Sequence[bytes],
        *,
        kernel: bool,
        kept: int | None = None,
    ) -> None:
        """``displaced`` are the instructions that the patch runs in the stead of sites on this
        side, in the order in which the module ran them. ``kept`` is where the stack begins that the
        patch may not give up: without it, where it is at the first instruction of the patch.
        """
        self.junk: dict[str, None] = {}
        self.undefined: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self.stores: dict[str, set[int]] = {}
        self._places = places
        self._displaced = Displaced(places, displaced, kernel=kernel)
        self._kernel = kernel
        self._ended: Machine | None = None
        self._reached: dict[int, Machine] = {}
        self.kept = kept

    def found(self, saved: frozenset[int]) -> Findings:
        """What was noted, each once; ``saved`` is what of the state the patch may store to."""
        stores = tuple(
            f"'{text}' stores to the state" for text, at in self.stores.items() if at - saved
        )
        return Findings(
            tuple(self.junk),
            tuple(self.undefined),
            stores,
            tuple(self.unknown),
            frozenset(self._reached),
        )

    def follow(self, start: int, machine: Machine) -> Machine | None:
        """Every way to its end, to a fixed point; what holds at all ends."""
        reached = self._reached = {start: machine}
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
        instruction = self._places.instruction(address)
        effects = effects_of(instruction.raw) if instruction is not None else None
        if instruction is None or effects is None or not effects.understood:
            self.unknown.setdefault(f"what runs at {address:#x}")
            return []
        patch = self._places.is_patch(address)
        if patch and effects.doubts:
            self.unknown.setdefault(f"{effects.doubts[0]}: '{instruction.text}'")
        if patch:
            self._note_unusual(instruction)
            if self._places.filled.makes_another(instruction):
                self.unknown.setdefault(f"what stands for '{instruction.text}' at other addresses")
            self._displaced.reach(machine)
        own = patch and not self._displaced.holds(instruction, effects.effects, machine)
        step = Transfer(
            self._places, machine, instruction, effects.effects, kernel=self._kernel, patch=own
        )
        self._note(step, own)
        if own and (changes_system if self._kernel else outlives)(step):
            whose = "monitor" if self._kernel else "kernel"
            self.unknown.setdefault(f"what '{instruction.text}' leaves to the {whose}")
        if writes_cr3(instruction):
            self._ended = machine if self._ended is None else self._ended.joined(machine)
            return []
        ways = self._go(step) if instruction.transfers_control else [(instruction.end, step.run())]
        return [way for way in ways if self._is_stack_known(step, way[1], patch=patch)]

    def _is_stack_known(self, step: Transfer, after: Machine, *, patch: bool) -> bool:
        """Whether it is known where the stack is. What is below it an NMI overwrites (see
        :mod:`kpatch.verify.world.operands`): what the switch keeps there may not come to lie so,
        not even for one instruction, and what lay so once is junk.
        """
        text = step.instruction.text
        rsp, before = number(after.registers["rsp"]), number(step.before.registers["rsp"])
        if rsp is None or before is None:
            self.unknown.setdefault(f"where the stack is after '{text}'")
            return False
        if patch:
            self.kept = before if self.kept is None else self.kept
            if rsp > self.kept:
                self.junk.setdefault(f"after '{text}' an NMI overwrites what the switch has saved")
            elif not self._places.is_stack(rsp):
                self.junk.setdefault(f"after '{text}' an NMI writes to what is no stack")
        self._places.forget(after, before, rsp)
        return True

    def _note_unusual(self, instruction: Instruction) -> None:
        if instruction.mnemonic.startswith("rep") and instruction.operation[:4] in _STRING_STORES:
            self.unknown.setdefault(f"how much '{instruction.text}' stores")
        if contradict(instruction.raw):
            text = f"'{instruction.text}' has prefixes that contradict each other"
            self.undefined.setdefault(text)
        feature = beyond_baseline(instruction.raw)
        if feature:
            self.undefined.setdefault(
                f"'{instruction.text}' is another one, or faults, on a CPU without {feature}"
            )

    def _go(self, step: Transfer) -> list[tuple[int, Machine]]:
        instruction = step.instruction
        if instruction.is_far_return or not (
            instruction.is_call or instruction.is_branch or instruction.is_return
        ):
            self.unknown.setdefault(f"where '{instruction.text}' goes")
            return []
        target: int | None
        if instruction.is_return:
            target = number(step.pop())
            step.drop(instruction.operands[0] if instruction.operands else None)
        elif instruction.branch_target is not None:
            target = instruction.branch_target % (1 << 64)
        else:
            target = number(step.value(instruction.operands[0]))
        if instruction.is_call:
            step.push(known(instruction.end, names=PLACED))
        if step.mnemonic.startswith("loop"):
            step.run()
        if target is None:
            self.unknown.setdefault(f"where '{instruction.text}' goes")
            return []
        ways = [(target, step.after)]
        if instruction.is_branch and step.mnemonic != "jmp":
            ways.append((instruction.end, step.after.copy()))
        return ways

    def _note_stores(self, step: Transfer) -> None:
        """Into the state: the stack and shared memory are the patch's to write."""
        for operand in stored_to(step):
            if GDT in step.address_origins(operand) and OF_DATA in step.sources():
                self._note_junk("what is stored", step, OF_DATA)
            elif SHARED in step.address_origins(operand) and CALCULATED in step.sources():
                self._note_junk("what is stored", step, CALCULATED)
            address = None if operand.segment else step.address(operand)
            if address is not None:
                size = operand.size or 8
                if any(self._places.is_state(address + at) for at in range(size)):
                    stores = self.stores.setdefault(step.instruction.text, set())
                    stores |= set(range(address, address + size))
            elif STACK in step.address_origins(operand):
                self.unknown.setdefault(f"where '{step.instruction.text}' stores")

    def _note_addresses(self, step: Transfer) -> None:
        """Where the stack and the state lie says where they are accessed, and nothing else."""
        for operand in step.memory_operands():
            names, address = step.address_origins(operand), step.address(operand)
            elsewhere = SHARED in names if address is None else not self._places.is_tracked(address)
            if STACK in names and elsewhere:
                self._note_junk("the address", step, STACK)
            if GDT in names and not names.isdisjoint({SHARED, TSS, STACK, *PLACES}):
                self._note_junk("the address", step, GDT)

    def _note_junk(self, what: str, step: Transfer, on: str) -> None:
        self.junk.setdefault(_depends(what, step, on))

    def _note(self, step: Transfer, own: bool) -> None:
        if own:
            self._note_stores(step)
            self._note_addresses(step)
        for what, names in dependencies(step, self._places):
            undefined = sorted(name for name in names if name.startswith(UNDEFINED))
            for name in undefined:
                self.undefined.setdefault(_depends(what, step, name))
            others = sorted(foreign(names) - set(undefined))
            if own and others:
                self._note_junk(what, step, others[0])
            if own and what in _DECIDED and names & PLACES:
                self._note_junk(what, step, min(names & PLACES))
            for place in sorted(names & ADDRESSES) if own else ():
                # The GDT's address has to be loaded, by those who load one of their own.
                is_used = (what, step.mnemonic) == ("the operand", "lgdt")
                is_used = is_used or (what, place) == ("the target", LINKED)
                if what != "the address" and not is_used:
                    self._note_junk(what, step, place)


def _depends(what: str, step: Transfer, on: str) -> str:
    return f"{what} of '{step.instruction.text}' depends on {on}"
