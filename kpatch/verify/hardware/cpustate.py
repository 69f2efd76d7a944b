"""What one CPU is between two runs, what a run has seen, and what it may touch."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from kpatch.verify.explore.program import Violation
from kpatch.verify.hardware.registers import ControlRegisters, Registers, TableRegister

CHUNK: Final = 64
"""Private memory is kept in a snapshot by chunks of this many bytes."""


@dataclass(frozen=True)
class Snapshot:
    """Everything of a CPU that no other CPU can see. Equal snapshots behave equally.

    ``chunks`` are the parts of the guest's memory that differ from its first round's start;
    ``owned`` is what this CPU alone has of the host's memory. ``context`` is Unicorn's own copy
    of the registers, of which ``registers`` says all that counts.
    """

    registers: Registers
    chunks: tuple[tuple[int, bytes], ...]
    owned: bytes
    context: Any = field(compare=False, repr=False)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.registers, self.chunks, self.owned))


class Access(NamedTuple):
    """An access to memory that CPUs share. ``step`` counts the instructions of the run from 0."""

    step: int
    write: bool
    physical: int
    size: int


@dataclass(frozen=True)
class LoadedTask:
    """An ``ltr`` that succeeded: TR after it, GDTR, and the 16 bytes that it was loaded from.

    ``descriptor`` is empty where the selector names none that could be read.
    """

    task: TableRegister
    gdt: TableRegister
    descriptor: bytes

    @classmethod
    def of(cls, registers: Registers, read: Callable[[int, int], bytes]) -> LoadedTask:
        """From the registers after it; ``read`` gives bytes at a virtual address."""
        task, gdt = registers.table("tr"), registers.table("gdtr")
        named = task.selector & ~3  # not null (SDM vol. 3, 3.4.2)
        return cls(task, gdt, read(gdt.base + (task.selector & ~7), 16) if named else b"")


@dataclass
class Execution:
    """What happened between two points of interest."""

    trace: list[int] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    loaded: list[LoadedTask] = field(default_factory=list)
    failure: Violation | None = None


@dataclass(frozen=True)
class Territory:
    """What one CPU may touch, by physical address.

    ``private`` are the chunks of the guest that it may write; ``edges`` are ranges of private
    memory that it may write, too, but that are not whole chunks. ``watched`` is shared memory in
    which every access counts; ``owned`` is shared memory that this CPU alone may touch, and
    ``foreign`` is what it may not even read.
    """

    private: Container[int]
    edges: tuple[tuple[int, int], ...]
    watched: tuple[tuple[int, int], ...]
    owned: tuple[int, int] | None
    foreign: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Controls:
    """Values of the control registers with which the code map and the memory map are true.

    ``own_tables`` are ranges of virtual addresses in which a patch may keep a GDT of its own:
    while it is in force, TR may be loaded from it, and no other segment.

    ``page_tables`` says for each value of cr3 which others may follow: those of the same guest.
    """

    page_tables: Mapping[int, frozenset[int]]
    gdt_bases: frozenset[int]
    own_tables: tuple[tuple[int, int], ...]
    code_selectors: frozenset[int]
    data_selectors: frozenset[int]
    ldt_selectors: frozenset[int]
    # Both functions below depend on nothing but their arguments and the fields above: what they
    # have answered is kept, because they are asked after nearly every instruction.
    _known: dict[object, str] = field(default_factory=dict, init=False, compare=False, repr=False)
    _known_tables: dict[bytes, bool] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def complaint(self, registers: ControlRegisters, root: int) -> str:
        """What is wrong with the registers; empty if nothing. ``root`` is what cr3 was."""
        key = root, registers.key
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._complaint(registers, root)
        return known

    def _complaint(self, registers: ControlRegisters, root: int) -> str:
        paging = registers["cr0"] & 0x8000_0001 == 0x8000_0001 and registers["cr4"] & 0x20
        checks = (
            (bool(paging), "paging or protection is off"),
            (registers["cr3"] in self.page_tables[root], f"cr3 is {registers['cr3']:#x}"),
            (
                registers.table("gdtr").base in self.gdt_bases or self.is_own_table(registers),
                "GDTR names no known table",
            ),
            (registers["cs"] in self.code_selectors, f"cs is {registers['cs']:#x}"),
            (
                all(registers[name] in self.data_selectors for name in ("ss", "ds", "es")),
                "a data segment comes from no known descriptor",
            ),
            (registers.table("ldtr").selector in self.ldt_selectors, "LDTR names no known table"),
            (not registers["rflags"] & 0x300, "interrupts or single-stepping are on"),
        )
        return ", ".join(text for good, text in checks if not good)

    def is_own_table(self, registers: ControlRegisters) -> bool:
        """Whether GDTR names a table of the patch's own."""
        known = self._known_tables.get(registers.gdtr)
        if known is None:
            table = registers.table("gdtr")
            known = self._known_tables[registers.gdtr] = any(
                low <= table.base and table.base + table.limit < high
                for low, high in self.own_tables
            )
        return known


class _Everywhere(Container[int]):
    def __contains__(self, address: object) -> bool:
        return True


EVERYWHERE: Final[Container[int]] = _Everywhere()
"""Stops before every instruction: a run is then one instruction."""
