"""The operands of one instruction, in one state of knowledge about a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kpatch.isa.effects import FLAG_NAMES, Effects
from kpatch.isa.instruction import REGISTERS, Immediate, Instruction, Memory, Operand, Register
from kpatch.units import ADDRESS_MASK
from kpatch.verify.world.distances import parts
from kpatch.verify.world.origins import (
    ADDRESSES,
    CHANGED_FLAGS,
    DESCRIPTOR,
    FLAGS,
    GDT,
    NONE,
    OF_DATA,
    OF_TSS,
    PLACED,
    PLACES,
    SHARED,
    TSS,
    UNDEFINED,
    Byte,
    Bytes,
    Machine,
    Origins,
    known,
    number,
    of,
    origins,
)
from kpatch.verify.world.places import BELOW, Places

HIGH: Final = frozenset({"ah", "bh", "ch", "dh"})
"""The second byte of a register."""

_LOOK_UP: Final = frozenset({"lar", "lsl", "verr", "verw"})
"""Say what a selector names, in the GDT or the LDT: other kernels, and processes with an LDT of
their own, have others there."""


_ADDRESS_OF: Final[Mapping[Origins, Origins]] = {
    frozenset({SHARED}): frozenset({OF_DATA}),
    frozenset({TSS}): frozenset({OF_TSS}),
}
"""What is tagged so is such an address."""


class Operands:
    """One instruction, and what is known in front of it. What is known behind it begins alike."""

    def __init__(
        self,
        places: Places,
        machine: Machine,
        instruction: Instruction,
        effects: Effects,
        *,
        kernel: bool,
        patch: bool,
    ) -> None:
        """``kernel`` says whether %gs is the kernel's, ``patch`` that this is none of the module's
        own instructions.
        """
        self.instruction = instruction
        self.effects = effects
        self.before = machine
        self.after = machine.copy()
        self._places = places
        self._kernel = kernel
        self._patch = patch
        self.mnemonic = instruction.operation

    def address(self, operand: Memory) -> int | None:
        """The address of a memory operand; None if it is not known, or cut to 32 bits."""
        total = operand.displacement
        for name, scale in ((operand.base, 1), (operand.index, operand.scale)):
            if name == "rip":
                total += self.instruction.end
            elif name is not None and name not in ("riz", "eiz"):
                whole, width = REGISTERS.get(name, (name, 0))
                held = number(self.before.registers[whole]) if width == 8 else None
                if held is None:
                    return None
                # SDM vol. 2, POP: an address by rsp is calculated behind the increment.
                popped = 8 if self.mnemonic == "pop" and whole == "rsp" else 0
                total += (held + popped) * scale
        return total & ADDRESS_MASK

    def address_origins(self, operand: Memory) -> Origins:
        """What the address comes from."""
        names = {name for name in (operand.base, operand.index) if name in REGISTERS}
        return NONE.union(*(self._held(REGISTERS[name][0]) for name in names if name))

    def memory_operands(self) -> tuple[Memory, ...]:
        """Those that are accessed."""
        if self.mnemonic in ("lea", "nop"):
            return ()
        return tuple(o for o in self.instruction.operands if isinstance(o, Memory))

    def value(self, operand: Operand) -> Bytes:
        """What an operand holds in front of the instruction."""
        return parts(self._whole_value(operand))

    def _whole_value(self, operand: Operand) -> Bytes:
        if isinstance(operand, Immediate):
            return known(operand.value, operand.size, self.placed(operand.value))
        if isinstance(operand, Memory):
            return self._load(operand)
        if operand.name not in REGISTERS:
            return of({operand.name}, operand.size)
        held = self.before.registers[operand.whole]
        return held[1:2] if operand.name in HIGH else held[: operand.size]

    def placed(self, address: int, *, beside_code: bool = False) -> Origins:
        """What a number in the code comes from: ``beside_code`` it counts from there, and else it
        is a constant, or one that the kernel linker fills in.
        """
        instruction = self.instruction
        filled = self._places.filled
        if not beside_code and not filled.between(instruction.address, instruction.end):
            return NONE
        return _ADDRESS_OF.get(self._places.tag(address & ADDRESS_MASK), PLACED)

    def sources(self) -> Origins:
        """Everything that the results come from."""
        found = NONE
        addressing = self._addressing()
        # SDM vol. 2, SBB: a register less itself and the carry is the carry, whatever it holds.
        is_carry = self.mnemonic == "sbb" and len(set(self.instruction.operands)) == 1
        for name, mask in self.effects.reads.items() if not is_carry else ():
            held = self.before.registers[name]
            read = tuple(byte for at, byte in enumerate(held) if mask >> at & 1)
            if name in addressing:  # what is loaded is no address of where it lay
                found |= origins(read) - ADDRESSES - PLACES
            else:
                found |= origins(read) | self._tagged(name)
        for bit, name in enumerate(FLAG_NAMES):
            if self.effects.flags_read >> bit & 1:
                found |= self.before.flags[name]
        for operand in self.instruction.operands:
            if isinstance(operand, Memory) and operand in self.memory_operands():
                found |= origins(self._load(operand))
            elif isinstance(operand, Register) and operand.name not in REGISTERS:
                found |= {operand.name}
        if not found.isdisjoint(FLAGS):
            found |= {CHANGED_FLAGS}
        if self.mnemonic in _LOOK_UP:
            found |= {f"the descriptor that '{self.instruction.text}' looks up"}
        if self._shifts_too_far():
            found |= {
                f"{UNDEFINED}, where it shifts by more than the width, '{self.instruction.text}'"
            }
        return found

    def _shifts_too_far(self) -> bool:
        """SDM vol. 2, SHLD and SHRD: by more than the operand's size, result and flags are
        undefined. The count is taken modulo 32, so this is about 16 bits.
        """
        if self.instruction.mnemonic not in ("shld", "shrd"):
            return False
        target, _, count = self.instruction.operands
        by = number(self.value(count))
        return getattr(target, "size", 0) == 2 and (by is None or by % 32 > 16)

    def _load(self, operand: Memory) -> Bytes:
        at = self.address(operand)
        size = operand.size or 8
        if operand.segment == "gs":
            return tuple(
                Byte(
                    None, self._places.pcpu(None if at is None else at + n, in_kernel=self._kernel)
                )
                for n in range(size)
            )
        if operand.segment == "fs":
            return of({"%fs, which is another's"}, size)
        if at is not None:
            return tuple(self._byte(at + n) for n in range(size))
        names = self.address_origins(operand)
        # The patch's own data, at a place that may depend on the CPU; or the descriptor.
        if SHARED in names:
            return of(names - PLACES, size)
        if GDT in names and TSS not in names:
            return of(names - {GDT} | {DESCRIPTOR}, size)
        return of(names | {"memory at an address that cannot be told"}, size)

    def _byte(self, address: int) -> Byte:
        """What is known of a byte. Kernels are compiled without a red zone."""
        rsp = number(self.before.registers["rsp"])
        if rsp is not None and address < rsp and self._places.is_stack(address):
            return BELOW
        return self._places.byte(self.before, address)

    def _addressing(self) -> frozenset[str]:
        """Registers that do nothing but address memory."""
        used = frozenset(
            REGISTERS[name][0]
            for operand in self.memory_operands()
            for name in (operand.base, operand.index)
            if name in REGISTERS
        )
        return used - {o.whole for o in self.instruction.operands if isinstance(o, Register)}

    def _held(self, name: str) -> Origins:
        return origins(self.before.registers[name]) | self._tagged(name)

    def _tagged(self, name: str) -> Origins:
        held = number(self.before.registers[name])
        return NONE if held is None else self._places.tag(held)

    def top(self) -> Bytes:
        """The eight bytes on top of the stack."""
        rsp = number(self.before.registers["rsp"])
        if rsp is None:
            return of({"the stack, at a place that is not known"})
        return tuple(self._places.byte(self.before, rsp + at) for at in range(8))
