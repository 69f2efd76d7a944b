"""Loads of shared memory of which only some bits are ever looked at.

A patch that writes a new base into the TSS descriptor keeps what else is in it::

    mov r9, [rcx]
    movabs r10, 0x00ff00000000ffff
    and r9, r10

Whatever base another CPU has left there, the step that begins with the load does the same: after
``and`` the register, and the flags, are a function of the bits under the mask, nothing in between
has read the register, and the load is all that the step reads of shared memory (a step ends before
the next instruction that touches it). So two values that agree under the mask have one outcome.
With 16 CPUs that is one run in place of fifteen.

Two decoders have to agree on what each of these instructions reads and writes. The emulator is
asked as well: in each state two values are run, and have to come out alike.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from kpatch.errors import VerificationError
from kpatch.isa.agreed import effects_of
from kpatch.isa.decode import decode_one
from kpatch.isa.effects import WHOLE
from kpatch.isa.instruction import MAX_LENGTH, Immediate, Instruction, Memory, Register
from kpatch.verify.explore.program import Local, OpKind, Outcome, Pending, Value

_SIZE: Final = 8
_MOST: Final = 4
"""Constants that may be loaded between the load and the mask."""

CodeAt = Callable[[int, int], bytes]
"""Bytes of code: a virtual address, and how many at most."""


class MaskedLoads:
    """What the steps of one program that begin with such a load came to."""

    def __init__(self, code_at: CodeAt) -> None:
        self._code_at = code_at
        self._masks: dict[int, int | None] = {}
        self._outcomes: dict[tuple[int, Local, int], Outcome] = {}
        self._checked: set[tuple[int, Local, int]] = set()

    def outcome(
        self,
        place: tuple[int, Local, int],
        pending: Pending,
        values: tuple[Value, ...],
        run: Callable[[], Outcome],
    ) -> Outcome:
        """The outcome of a step: of ``run()``, or as it is known from a value that is alike.

        ``place`` is the CPU, its local state, and the address of the instruction that is pending;
        ``values`` are all that it finds in shared memory, in the order of their addresses. Raises
        VerificationError where the emulator tells two such values apart.
        """
        mask = self._mask(place[2]) if pending.kind is OpKind.PLAIN and values else None
        read = b"".join(values)
        if mask is None or pending.writes or len(read) != _SIZE:
            return run()
        key = place[0], place[1], int.from_bytes(read, "little") & mask
        if key in self._checked:
            return self._outcomes[key]
        outcome = run()
        if key in self._outcomes:
            if _told(outcome) != _told(self._outcomes[key]):
                raise VerificationError(
                    f"the emulator and the decoders disagree about what follows {pending.label!r}",
                    todo="report this as a bug of kpatch; it says nothing about the module",
                )
            self._checked.add(key)
        self._outcomes[key] = outcome
        return outcome

    def _mask(self, address: int) -> int | None:
        if address not in self._masks:
            self._masks[address] = mask_of(self._code_at, address)
        return self._masks[address]


def mask_of(code_at: CodeAt, address: int) -> int | None:
    """The bits of 8 bytes of memory that the code at an address looks at; None if it is no such
    load, or not plain that it is one.
    """
    load = decode_one(code_at(address, MAX_LENGTH), address)
    match load:
        case Instruction(mnemonic="mov", operands=(Register(whole=loaded, size=8), Memory(size=8))):
            if not _only_writes(load, loaded):
                return None
        case _:
            return None
    constants: dict[str, int] = {}
    at = load.end
    for _ in range(_MOST + 1):
        now = decode_one(code_at(at, MAX_LENGTH), at)
        match now:
            case Instruction(
                mnemonic="movabs", operands=(Register(whole=target, size=8), Immediate(value=value))
            ) if target != loaded and _only_writes(now, target, frozenset()):
                constants[target] = value % (1 << 64)
            case Instruction(
                mnemonic="and",
                operands=(Register(whole=target, size=8), Register(whole=source, size=8)),
            ) if target == loaded and _only_writes(now, target, frozenset({target, source})):
                return constants.get(source)
            case _:
                return None
        at = now.end
    return None


def _only_writes(each: Instruction, written: str, reads: Set[str] | None = None) -> bool:
    """Whether two decoders agree that one whole register is all that it writes but for flags, and
    that it reads no flags and of registers at most these, if any are given.
    """
    merged = effects_of(each.raw)
    if merged is None or merged.doubts:
        return False
    effects = merged.effects
    return (
        dict(effects.writes) == dict(effects.may_write) == {written: WHOLE}
        and (reads is None or reads >= effects.reads.keys())
        and not effects.flags_read
    )


def _told(outcome: Outcome) -> tuple[object, ...]:
    return outcome.next, outcome.writes, outcome.violations
