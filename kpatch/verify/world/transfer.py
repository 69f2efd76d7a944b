"""What one instruction does to what is known of a CPU.

A few instructions are calculated: those that move values, and that make addresses. Of any other
each result comes from all that it reads, as two decoders have it, and is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kpatch.isa.effects import FLAG_NAMES
from kpatch.isa.instruction import REGISTERS, Immediate, Memory, Operand, Register
from kpatch.units import ADDRESS_MASK
from kpatch.verify.world.distances import counts_once, flag_origins, gone
from kpatch.verify.world.operands import HIGH, Operands
from kpatch.verify.world.origins import (
    ALTERED,
    CALCULATED,
    CHANGED_FLAGS,
    FLAGS,
    GDT,
    LIMIT,
    NONE,
    PLACED,
    PLACES,
    POINTS,
    SELECTOR,
    UNDEFINED,
    Byte,
    Bytes,
    Machine,
    Origins,
    known,
    number,
    of,
    origins,
    pointer,
)
from kpatch.verify.world.places import BELOW

_TABLES: Final = {"sgdt": GDT, "str": SELECTOR, "sidt": "IDTR", "sldt": "LDTR", "smsw": "cr0"}
_SUMS: Final[dict[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "and": lambda a, b: a & b,
    "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b, "shr": lambda a, b: a >> b,
    "inc": lambda a, _: a + 1, "dec": lambda a, _: a - 1,
}  # fmt: skip


class Transfer(Operands):
    """One instruction, and what is known behind it."""

    def run(self) -> Machine:
        """The state behind it, control flow apart."""
        special = _CALCULATED.get(self.mnemonic)
        if special is not None:
            special(self)
        elif self.mnemonic in _TABLES:
            name = _TABLES[self.mnemonic]
            if name == SELECTOR and not self._kernel:
                name = "TR, which is the monitor's"
            found = of({name}, 16)
            if name == GDT:  # SDM vol. 2, SGDT: the limit, then the base
                found = (*of({LIMIT}, 2), *found)
            self.store(self.instruction.operands[0], found)
        elif self.mnemonic in _SUMS:
            self._sum()
        else:
            self._anything()
        self._flags()
        return self.after

    def store(self, operand: Operand, value: Bytes) -> None:
        """Put ``value`` into an operand; a register is written as SDM vol. 1, 3.4.1.1 has it."""
        if isinstance(operand, Memory):
            self._store(operand, value)
        elif isinstance(operand, Register) and operand.name in REGISTERS:
            held = self.after.registers[operand.whole]
            if operand.name in HIGH:
                held = (held[0], value[0], *held[2:])
            elif operand.size == 4:
                held = (*value[:4], *known(0, 4))
            else:
                held = (*value[: operand.size], *held[operand.size :])
            self.after.registers[operand.whole] = held

    def drop(self, operand: Operand | None) -> None:
        """What ``ret`` takes off the stack beside the address."""
        rsp = number(self.after.registers["rsp"])
        if rsp is not None and isinstance(operand, Immediate):
            self.after.registers["rsp"] = pointer(rsp + operand.value)

    def push(self, value: Bytes) -> None:
        """Eight bytes onto the stack."""
        rsp = number(self.before.registers["rsp"])
        if rsp is not None:
            self.after.registers["rsp"] = pointer(rsp - 8)
            self._put(rsp - 8, (*value, *known(0, 8))[:8])

    def pop(self) -> Bytes:
        """Eight bytes off the stack."""
        rsp = number(self.before.registers["rsp"])
        if rsp is not None:
            self.after.registers["rsp"] = pointer(rsp + 8)
        return self.top()

    def _mov(self) -> None:
        target, source = self.instruction.operands
        value = self.value(source)
        if isinstance(target, Register) and target.name not in REGISTERS:
            return
        self.store(target, (*value, *known(0, 8))[: max(target.size, len(value))])

    def _movzx(self) -> None:
        target, source = self.instruction.operands
        self.store(target, (*self.value(source), *known(0, 8))[:8])

    def _lea(self) -> None:
        target, source = self.instruction.operands
        if isinstance(source, Memory):
            at, names = self.address(source), self.address_origins(source)
            placed = self.placed(at or 0, beside_code=source.base == "rip")
            # An address of anything else is a constant, whatever it is called.
            kept = names & (POINTS | PLACED | PLACES) | placed
            if source.index in REGISTERS and not PLACES.isdisjoint(
                origins(self.before.registers[REGISTERS[source.index][0]])
            ):
                kept, names = kept | {CALCULATED}, names | {CALCULATED}
            self.store(target, of(names) if at is None else known(at, names=kept))

    def _push(self) -> None:
        if _OPERAND_SIZE in self.instruction.raw[:2]:
            self._anything()  # two bytes: then it is not known where the stack is
        else:
            self.push(self.value(self.instruction.operands[0]))

    def _pop(self) -> None:
        if _OPERAND_SIZE in self.instruction.raw[:2]:
            self._anything()
        else:
            self.store(self.instruction.operands[0], self.pop())

    def _pushfq(self) -> None:
        names = NONE.union(*self.before.flags.values())
        self.push(tuple(Byte(None, names | {name}) for name in FLAGS))

    def _popfq(self) -> None:
        names = origins(self.pop()) - {*FLAGS, CHANGED_FLAGS}
        self.after.flags = dict.fromkeys(self.after.flags, names)

    def _leave(self) -> None:
        if _OPERAND_SIZE in self.instruction.raw[:2]:
            self._anything()  # it takes two bytes off
            return
        self.before = self.before.copy()
        self.before.registers["rsp"] = self.before.registers["rbp"]
        self.after.registers["rbp"] = self.pop()

    def _xchg(self) -> None:
        one, other = self.instruction.operands
        first, second = self.value(one), self.value(other)
        self.store(one, second)
        self.store(other, first)

    def _sum(self) -> None:
        """Known numbers are calculated; a mask of zeros lets nothing through."""
        target = self.instruction.operands[0]
        values = [self.value(operand) for operand in self.instruction.operands]
        if self.mnemonic == "xor" and len(set(self.instruction.operands)) == 1:
            self.store(target, known(0, len(values[0])))
            return
        numbers = [number(value) for value in (*values, known(1))[:2]]
        one, other = numbers
        size = len(values[0])
        away = gone(self.mnemonic, [origins(value) for value in values])
        names = origins(sum(values, ())) - away
        if one is not None and other is not None and self._is_calculated(names, other):
            if self.mnemonic in ("shl", "shr"):  # SDM vol. 2, SAL/SAR/SHL/SHR: by 5 or 6 bits
                other &= 63 if size == 8 else 31
            elif self.mnemonic in ("add", "sub", "and", "or", "xor"):
                other = int.from_bytes(other.to_bytes(8, "little")[:size], "little")
            names = self._made_of(names)
            self.store(target, known(_SUMS[self.mnemonic](one, other), size, names))
        elif self.mnemonic == "and" and other is not None and not origins(values[1]):
            mask = (other & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            kept = tuple(
                Byte(0)
                if not keep
                else byte
                if keep == 0xFF and GDT not in byte.origins
                else Byte(None, self._made_of(byte.origins))
                for keep, byte in zip(mask, values[0], strict=True)
            )
            self.store(target, kept)
        else:
            self.store(target, of(self._made_of(self.sources() - away), size))

    def _is_calculated(self, names: Origins, other: int) -> bool:
        """Whether the sum of two numbers is known. Of an address it is what moves it, and for the
        stack an alignment: its other bits are like those of this machine on no other one.
        """
        if names <= PLACES or self.mnemonic in ("add", "sub", "inc", "dec"):
            return names <= POINTS | PLACED | PLACES
        cleared = ~other & ADDRESS_MASK
        return names == POINTS and self.mnemonic == "and" and not cleared & cleared + 1

    def _made_of(self, names: Origins) -> Origins:
        """What a result comes from: the address of the GDT may be moved, and added to."""
        moves = self.mnemonic in _MOVES_ADDRESSES or self.mnemonic.startswith(_MOVES)
        if not PLACES.isdisjoint(names) and not (
            moves and counts_once(self.mnemonic, self._operands())
        ):
            names |= {CALCULATED}
        return names if GDT not in names or moves else names | {ALTERED}

    def _operands(self) -> tuple[Origins, ...]:
        return tuple(origins(self.value(operand)) for operand in self.instruction.operands)

    def _anything(self) -> None:
        names = self._made_of(self.sources())
        if self.mnemonic in ("bsf", "bsr") and not number(self.value(self.instruction.operands[1])):
            # SDM vol. 2, BSF: undefined where the source is 0, and that cannot be told.
            names |= {f"{UNDEFINED}, where its source is 0, '{self.instruction.text}'"}
        for name, mask in self.effects.may_write.items():
            certain = self.effects.writes.get(name, 0)
            self.after.registers[name] = tuple(
                old if not mask >> at & 1
                else Byte(None, names if certain >> at & 1 else names | old.origins)
                for at, old in enumerate(self.before.registers[name])
            )  # fmt: skip
        for operand in self.memory_operands():
            self._store(operand, of(names | origins(self._load(operand)), operand.size or 8))

    def _flags(self) -> None:
        if self.mnemonic == "popfq":
            return
        operands = [self.value(operand) for operand in self.instruction.operands]
        names = self.sources() - gone(self.mnemonic, [origins(value) for value in operands])
        for bit, name in enumerate(FLAG_NAMES):
            if not self.effects.flags_changed >> bit & 1:
                continue
            found = flag_origins(self.instruction, operands, names, name)
            if self.effects.flags_undefined >> bit & 1:
                found |= {f"{UNDEFINED} {name} after '{self.instruction.text}'"}
            if not self.effects.flags_written >> bit & 1:
                found |= self.before.flags[name]
            self.after.flags[name] = found

    def _store(self, operand: Memory, value: Bytes) -> None:
        at = None if operand.segment else self.address(operand)
        if at is not None:
            size = operand.size or 8
            self._put(at, (*value, *known(0, 8))[: 10 if self.mnemonic in _TEN else size])

    def _put(self, at: int, value: Bytes) -> None:
        rsp = number(self.after.registers["rsp"])
        for n, byte in enumerate(value):
            if self._places.is_tracked(at + n):
                # Below the stack pointer an NMI overwrites it before anybody reads it.
                is_below = rsp is not None and at + n < rsp and self._places.is_stack(at + n)
                self.after.memory[at + n] = BELOW if is_below else byte
        if not self._patch:
            self.after.saved |= {at + n for n in range(len(value))}


_MOVES_ADDRESSES: Final = frozenset({
    "add", "sub", "inc", "dec", "neg", "not", "cdqe", "xadd", "cmpxchg",
})  # fmt: skip
_MOVES: Final = ("cmov", "movs", "lods", "stos")
_OPERAND_SIZE: Final = 0x66
_TEN: Final = frozenset({"sgdt", "sidt"})

_CALCULATED: Final[Mapping[str, Callable[[Transfer], None]]] = {
    "movabs": Transfer._mov,
    "mov": Transfer._mov,
    "movzx": Transfer._movzx,
    "lea": Transfer._lea,
    "push": Transfer._push,
    "pop": Transfer._pop,
    "pushfq": Transfer._pushfq,
    "popfq": Transfer._popfq,
    "leave": Transfer._leave,
    "xchg": Transfer._xchg,
}
"""Mnemonic -> what knows more of it than that each result comes from all that it reads."""
