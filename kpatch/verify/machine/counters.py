"""Locks that count: a ticket lock ends each round with its counters ahead of where they began.

What such a lock does depends on *differences* of its counters only. If no instruction of the
module can tell counters that are all ahead by the same number from counters that are not, then a
round that begins with them ahead is the same as one that does not, but for that number, and so is
every later round, through every overflow. Two things are checked:

1. Every round leaves all counters ahead by one number (modulo their size), and everything else of
   the patch's memory as it was.
2. The code passes counters on, adds to them, and compares one to another for equality. It
   does nothing else with them. That is seen by a dataflow along every way that the exploration
   took, from the entry to the return. A form that is not in the lists below is taken to tell.
3. Where counters are read, whoever waits only looks: rounds without end come to no end then, and
   who does more while he waits may count the rounds of others. Counters that are added to, and
   never read, may as well stay as they are.

Arithmetic modulo a power of two: ``a == b`` if and only if ``a + d == b + d`` (SDM vol. 2,
CMP: only ZF of its flags has this property).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kpatch.isa.decode import decode_one
from kpatch.isa.instruction import MAX_LENGTH, Immediate, Instruction, Memory, Register
from kpatch.verify.machine.cells import CellRange
from kpatch.verify.machine.setup import Setup
from kpatch.verify.machine.waiting import only_looks
from kpatch.verify.world.kernel_text import RETURN_AT

_MOVES: Final = frozenset({"mov", "movzx"})
_ADDS: Final = frozenset(
    {"add", "sub", "inc", "dec", "lock add", "lock sub", "lock inc", "lock dec"}
)
_FETCHES: Final = frozenset({"lock xadd", "xadd"})
_EQUALITY: Final = frozenset({"je", "jne"})
# What may stand between, as long as it reads no counter: instructions whose operands are all
# written down, so that no decoder has to be believed about what else they read.
_PLAIN: Final = frozenset({
    "mov", "movabs", "movzx", "and", "or", "xor", "add", "sub", "inc", "dec", "shl", "shr", "lea",
    "cmp", "test", "bts", "btr", "pause", "jmp", "nop", "mfence", "sfence", "lfence", "ltr", "pop",
    "push", "ret", "je", "jne", "ja", "jae", "jb", "jbe", "not", "neg",
})  # fmt: skip
_SETS_ALL_FLAGS: Final = frozenset({"and", "or", "xor", "add", "sub", "cmp", "test", "neg"})

Left = frozenset[tuple[int, int]]  # physical address and contents of the bytes that differ


@dataclass(frozen=True)
class _Taint:
    """Where counters are before an instruction: registers, and what the flags say about them."""

    registers: frozenset[str] = frozenset()
    flags: str = ""  # "", "equality" or "more"


class _TellsError(Exception):
    """The code may tell counters that are ahead from counters that are not."""


@dataclass(frozen=True)
class Counters:
    """Cells that only count; ``are_read`` says whether anything comes to know what they hold."""

    cells: frozenset[CellRange]
    are_read: bool


def only_counts(setup: Setup, left: Iterable[Left]) -> Counters | None:
    """The counters, where the rounds have left nothing else, and the code cannot tell."""
    ways = [dict(way) for way in left]
    changed = {address for way in ways for address in way}
    cells = [one for one in setup.ranges if not changed.isdisjoint(range(one.start, one.end))]
    if not cells or not all(_all_ahead(setup, cells, way) for way in ways):
        return None
    return counters_in(setup, frozenset(cells))


def counters_in(setup: Setup, cells: frozenset[CellRange]) -> Counters | None:
    """These cells, if all that was seen to run cannot tell how far ahead they are."""
    sizes = {one.end - one.start for one in cells}
    touching = setup.instructions_on([(one.start, one.end) for one in cells])
    if len(sizes) != 1:
        return None
    flow = _Dataflow(setup, touching, *sizes)
    try:
        flow.follow()
    except _TellsError:
        return None
    if flow.reads and not only_looks(setup):
        return None
    return Counters(cells, flow.reads)


def _all_ahead(setup: Setup, cells: Sequence[CellRange], way: Mapping[int, int]) -> bool:
    """Whether all counters are ahead by the same number."""
    steps = set()
    for cell in cells:
        start = setup.loaded_at(cell.start, cell.end - cell.start)
        end = bytes(way.get(cell.start + n, byte) for n, byte in enumerate(start))
        ahead = int.from_bytes(end, "little") - int.from_bytes(start, "little")
        steps.add(ahead % (1 << 8 * len(start)))
    return len(steps) == 1


class _Dataflow:
    """Follows counters through registers, from the entry along every way that was seen.

    ``reads``: something came to know what a counter holds.
    """

    def __init__(self, setup: Setup, touching: frozenset[int], size: int) -> None:
        self._setup = setup
        self._touching = touching
        self._size = size
        self._flow = setup.flow()
        self.reads = False

    def follow(self) -> None:
        """Along every way. Raises _TellsError."""
        done: set[tuple[int, _Taint]] = set()
        guest = self._setup.world.guest
        seats = range(len(guest.seats))
        todo = [(guest.registers(seat)["rip"], _Taint()) for seat in seats]
        while todo:
            here = todo.pop()
            if here in done:
                continue
            done.add(here)
            address, before = here
            instruction = decode_one(self._setup.world.code_at(address, MAX_LENGTH), address)
            if instruction is None:
                raise _TellsError
            after = self._after(instruction, before)
            following = self._flow.get(address)
            if not following:
                raise _TellsError  # nobody has seen where it goes on
            self.reads = self.reads or bool(after.registers) or after.flags == "equality"
            todo.extend((address, after) for address in following - {RETURN_AT})

    def _after(self, now: Instruction, before: _Taint) -> _Taint:
        if now.address in self._touching:
            return self._access(now, before)
        if not _reads(now, before):
            return self._passed(now, before)
        names = [operand for operand in now.operands if isinstance(operand, Register)]
        counters = [register for register in names if register.whole in before.registers]
        if any(counter.size < self._size for counter in counters) or _addresses(now, before):
            raise _TellsError
        match now.operands:
            case (Register(whole=target), Register()) if now.mnemonic in _MOVES:
                return _Taint(before.registers | {target}, before.flags)
            case (Register(size=size), Register(size=other)) if now.mnemonic == "cmp":
                if len(counters) == 2 and size == other == self._size:
                    return _Taint(before.registers, "equality")
            case (Register(),) | (Register(), Immediate()) if now.mnemonic in _ADDS:
                return _Taint(before.registers, "more")
        if now.mnemonic in _EQUALITY and before.flags == "equality":
            return before
        raise _TellsError

    def _access(self, now: Instruction, before: _Taint) -> _Taint:
        """An instruction that reads or writes a counter in memory."""
        if _addresses(now, before):
            raise _TellsError
        tainted = before.registers
        match now.operands:
            case (Register(whole=target), Memory(size=size)) if now.mnemonic in _MOVES:
                if size == self._size:
                    return _Taint(tainted | {target}, before.flags)
            case (Memory(size=size), Register(whole=other, size=same)) if now.mnemonic == "mov":
                if size == same == self._size and other in tainted:
                    return before
            case (Memory(size=size), Register(whole=target)) if now.mnemonic in _FETCHES:
                if size == self._size and target not in tainted:
                    return _Taint(tainted | {target}, "more")
            case (Memory(size=size),) | (Memory(size=size), Immediate()) if now.mnemonic in _ADDS:
                if size == self._size:
                    return _Taint(tainted, "more")
            case (Memory(size=size), Register(whole=other)) | (
                Register(whole=other),
                Memory(size=size),
            ) if now.mnemonic == "cmp":
                if size == self._size and other in tainted:
                    return _Taint(tainted, "equality")
        raise _TellsError

    @staticmethod
    def _passed(now: Instruction, before: _Taint) -> _Taint:
        """An instruction that reads no counter: what it overwrites is none any more."""
        if not (before.registers or before.flags):
            return before
        if now.mnemonic not in _PLAIN:
            raise _TellsError
        registers = before.registers
        match now.operands:
            case (Register(whole=target, size=size), *_) if size >= 4 and now.mnemonic not in (
                "cmp", "test", "push",
            ):  # fmt: skip
                registers -= {target}
        flags = "" if now.mnemonic in _SETS_ALL_FLAGS else before.flags
        return _Taint(registers, flags)


def _reads(now: Instruction, before: _Taint) -> bool:
    """Whether it reads a counter, or flags that say something about one."""
    if before.flags and now.operation.startswith("j") and now.operation != "jmp":
        return True
    reads = set(now.reads)
    written_first = now.mnemonic in ("mov", "movabs", "movzx", "lea", "pop")
    for position, operand in enumerate(now.operands):
        if isinstance(operand, Register) and not (
            position == 0 and written_first and operand.size >= 4
        ):
            reads.add(operand.whole)
    return not before.registers.isdisjoint(reads) or _addresses(now, before)


def _addresses(now: Instruction, before: _Taint) -> bool:
    """Whether an address is made of a counter."""
    return any(
        isinstance(operand, Memory)
        and not before.registers.isdisjoint({operand.base, operand.index})
        for operand in now.operands
    )
