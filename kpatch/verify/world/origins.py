"""Where each byte of a CPU's state comes from, whatever its value: the domain of the input check.

A byte is a number, where it is the same on every way, and a set of origins: names of what it was
computed from. No origins: constants. Origins in :data:`KNOWN` are what a patch has to look at; any
other is something that it may not depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kpatch.isa.effects import FLAG_NAMES
from kpatch.verify.hardware.registers import GENERAL

GDT: Final = "the address of the GDT"
LIMIT: Final = "the limit of the GDT"
DESCRIPTOR: Final = "the TSS descriptor"
SELECTOR: Final = "the saved TR selector"
CPUID: Final = "cpuid"
SHARED: Final = "the patch's own data"
TSS: Final = "common_tss"
STACK: Final = "the address of the stack or the state"
LINKED: Final = "where the module or the kernel lies"
OF_DATA: Final = "the address of the patch's own data"
OF_TSS: Final = "the address of common_tss"
CALCULATED: Final = "bits of the address of common_tss or of the patch's own data"
PLACES: Final = frozenset({OF_DATA, OF_TSS, CALCULATED})
"""Explorations have two or three of each: see :mod:`kpatch.verify.world.distances`."""
FLAGS: Final = tuple(f"byte {at} of the flags" for at in range(8))
"""What ``pushfq`` pushes, in its order."""
CHANGED_FLAGS: Final = "flags that were changed"
KNOWN: Final = frozenset(
    {GDT, LIMIT, DESCRIPTOR, SELECTOR, CPUID, SHARED, TSS, STACK, LINKED, *PLACES}
)
"""What a patch may depend on: the exploration has every value of it, :data:`ADDRESSES` apart."""
ADDRESSES: Final = frozenset({GDT, STACK, LINKED})
"""Addresses that are others on other kernels: they say where something is, and nothing else."""

ALTERED: Final = f"what is calculated of {GDT}"
"""Where no address was added to: bits that this machine's GDTs have may be others elsewhere."""

UNDEFINED: Final = "undefined"
"""How the names of origins begin that the SDM leaves undefined."""

Origins = frozenset[str]
NONE: Final[Origins] = frozenset()
POINTS: Final[Origins] = frozenset({STACK})
PLACED: Final[Origins] = frozenset({LINKED})
PAIR: Final[Origins] = frozenset({CPUID})


class Byte(NamedTuple):
    """One byte: its number, None where ways differ or it is not known, and its origins. ``bits``
    are functions of cpuid and what stands behind it, where they are followed
    (:mod:`kpatch.verify.world.ways`).
    """

    number: int | None = None
    origins: Origins = NONE
    bits: tuple[int, ...] = ()


Bytes = tuple[Byte, ...]


def known(number: int, size: int = 8, names: Origins = NONE) -> Bytes:
    """A number, little-endian. Without ``names`` it is a constant."""
    return tuple(Byte(byte, names) for byte in (number % (1 << 8 * size)).to_bytes(size, "little"))


def pointer(number: int) -> Bytes:
    """An address in the stack or the state. Other threads have others there, and the low bits,
    which are alike in all threads of this machine, are other ones on other kernels.
    """
    return known(number, names=POINTS)


def of(origins: Iterable[str], size: int = 8) -> Bytes:
    """A value that is not known. No two of its bytes are the same."""
    names = frozenset(origins)
    return tuple(Byte(None, names) for _ in range(size))


def number(value: Bytes) -> int | None:
    """The number that ``value`` is; None if a byte of it is not known."""
    numbers = [byte.number for byte in value if byte.number is not None]
    return int.from_bytes(bytes(numbers), "little") if len(numbers) == len(value) else None


def origins(value: Iterable[Byte]) -> Origins:
    """Everything that any byte of ``value`` comes from."""
    return NONE.union(*(byte.origins for byte in value))


def foreign(names: Origins) -> Origins:
    """Those that a patch may not depend on."""
    return names - KNOWN


@dataclass
class Machine:
    """What is known of a CPU at one place in the code.

    ``memory`` has the bytes of the stack and the state that were written, by address; ``saved`` are
    those of the state that the module's own code wrote.
    """

    registers: dict[str, Bytes] = field(default_factory=dict)
    flags: dict[str, Origins] = field(default_factory=dict)
    memory: dict[int, Byte] = field(default_factory=dict)
    saved: frozenset[int] = frozenset()

    def copy(self) -> Machine:
        """Another one, to be changed apart."""
        return Machine(dict(self.registers), dict(self.flags), dict(self.memory), self.saved)

    def joined(self, other: Machine) -> Machine:
        """What holds on either of two ways."""
        return Machine(
            {name: _join(self.registers[name], other.registers[name]) for name in GENERAL},
            {name: self.flags[name] | other.flags[name] for name in FLAG_NAMES},
            _join_memory(self.memory, other.memory),
            self.saved & other.saved,
        )


def _join(one: Bytes, other: Bytes) -> Bytes:
    return one if one == other else tuple(map(_either, one, other))


def _either(one: Byte, other: Byte) -> Byte:
    if one == other:
        return one
    return Byte(one.number if one.number == other.number else None, one.origins | other.origins)


def _join_memory(one: Mapping[int, Byte], other: Mapping[int, Byte]) -> dict[int, Byte]:
    unsure = Byte(None, frozenset({"memory that only some ways have written"}))
    joined = dict(one)
    # Mostly both have the very same bytes: few are looked at.
    for at, byte in other.items():
        if (mine := one.get(at, unsure)) is not byte:
            joined[at] = _either(mine, byte)
    for at in one.keys() - other.keys():
        joined[at] = _either(one[at], unsure)
    return joined
