"""One emulated CPU: an engine that runs from a snapshot to the next point of interest.

What Unicorn 2.1.4 does, measured, and what follows from it:

* Memory hooks get physical addresses. Those of ``ltr`` come too: four reads of 4 bytes of the
  descriptor, one write of 4 bytes (the busy bit); none on #GP.
* ``ltr`` on a busy TSS raises #GP, which ends in the interrupt hook; rip stays at the ``ltr``.
* A code hook comes before its instruction; ``emu_stop`` in it stops there, nothing executed.
* ``context_restore`` brings back TR with its hidden part, but leaves the TLB as it was: addresses
  are then translated as before. Writing cr3 drops the TLB.
* A context holds pointers to the engine's breakpoints. Restored after DR7 has changed, they dangle,
  and the process dies. So no code may enable a breakpoint: it is a finding instead.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence, Set
from typing import Final

from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_MODE_64,
    UC_PROT_ALL,
    Uc,
    UcError,
)
from unicorn import x86_const as x86

from kpatch.units import counted
from kpatch.verify.explore.program import OpKind, Violation
from kpatch.verify.hardware.accesses import Ledger
from kpatch.verify.hardware.codemap import CodeInfo, CodeMap
from kpatch.verify.hardware.cpustate import Controls, Execution, LoadedTask, Snapshot, Territory
from kpatch.verify.hardware.cycle import CycleFinder
from kpatch.verify.hardware.exceptions import EXCEPTIONS
from kpatch.verify.hardware.guestmemory import GuestMemory
from kpatch.verify.hardware.hooks import Hooks, Trace
from kpatch.verify.hardware.memory import Arena, Region, require_room
from kpatch.verify.hardware.moves import refused_move
from kpatch.verify.hardware.registers import RegisterReader, Registers, TaskRegister, number_of

BUDGET: Final = 20_000
"""Instructions that one step may take; each repetition of a string instruction counts as one."""

_TRANSLATED: Final = 16 << 20
"""Bytes of address space for translated code; Unicorn's own choice is 1 GiB an engine. The whole
switch takes less than 1 MiB, and when it is full Unicorn begins anew."""
_BESIDE: Final = 16 << 20
"""Bytes for everything else that Unicorn allocates. It ends the process where it cannot."""

_NONE: Final[Set[int]] = frozenset({-1})
"""No instruction is quiet: something is due before the next one, whichever it is."""

_EFER: Final = 0xC000_0080
_FIRST: Final = ("cr0", "cr3", "cr4", "efer")
_DEFAULT_DR6: Final = 0xFFFF_0FF0


class Engine:
    """A Unicorn engine over a shared and a private arena."""

    def __init__(
        self,
        shared: Arena,
        private: Arena,
        code: CodeMap,
        controls: Controls,
        places: Sequence[Region],
    ) -> None:
        """``places`` are the names of memory, for messages; the first that fits is taken.

        Raises MachineError where there is no address space for an engine.
        """
        self.shared = shared
        self.private = private
        self.guest = GuestMemory(private)
        self._code = code
        self._infos = code.known
        self._controls = controls
        self._root = 0
        self._places = tuple(places)
        self._ledger = Ledger(shared, self.guest, places, self._fail)
        require_room(_TRANSLATED + _BESIDE)
        self._uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self._uc.ctl_set_tcg_buffer_size(_TRANSLATED)
        for arena in (shared, private):
            self._uc.mem_map_ptr(arena.base, arena.size, UC_PROT_ALL, arena.pointer)
        self._reader = RegisterReader(self._uc)
        self._trace = Trace()
        self._quiet: set[int] = set()  # addresses of the simple instructions that were met
        self._arm(Execution(), frozenset(), False, BUDGET, 0)
        self._hooks = Hooks(self._uc)
        self._hooks.add_trace(self._trace, self._on_code)
        self._hooks.add(UC_HOOK_INTR, self._on_exception)
        self._hooks.add(UC_HOOK_INSN_INVALID, self._on_invalid)
        self._ledger.watch_writes(self._hooks)

    def watch_reads(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Notice reads in these ranges of physical addresses. Before the first run only."""
        self._ledger.watch_reads(self._hooks, ranges)

    def close(self) -> None:
        """Give everything back at once; nothing else may be called after it.

        Otherwise the engine would stay until the garbage collector comes by: its hooks refer to it.
        """
        if vars(self):
            self._hooks.remove()
            vars(self).clear()

    def power_on(self, numbers: Mapping[str, int], tables: Mapping[str, tuple[int, int]]) -> None:
        """Long mode, paging on. ``numbers`` are registers by name, with ``efer`` among them;
        ``tables`` are base and limit of GDTR and IDTR.
        """
        uc = self._uc
        # In this order long mode comes on as the SDM wants it: vol. 3, 10.8.5.
        uc.reg_write(x86.UC_X86_REG_CR4, numbers["cr4"])
        uc.reg_write(x86.UC_X86_REG_CR3, numbers["cr3"])
        self._root = numbers["cr3"]
        uc.msr_write(_EFER, numbers["efer"])
        uc.reg_write(x86.UC_X86_REG_CR0, numbers["cr0"])
        for name, (base, limit) in tables.items():
            uc.reg_write(number_of(name), (0, base, limit, 0))
        uc.reg_write(x86.UC_X86_REG_LDTR, (0, 0, 0, 0))
        uc.reg_write(x86.UC_X86_REG_DR6, _DEFAULT_DR6)
        others = {each: numbers[each] for each in numbers if each not in _FIRST}
        self._reader.write(others)

    def write_registers(self, numbers: Mapping[str, int]) -> None:
        """Set general registers, rip, cr3 and the like, from outside."""
        self._root = numbers.get("cr3", self._root)
        self._reader.write(numbers)

    def write_tr(self, selector: int, base: int, limit: int, flags: int) -> None:
        """Set TR with its hidden part, from outside."""
        self._uc.reg_write(x86.UC_X86_REG_TR, (selector, base, limit, flags))

    @property
    def tr(self) -> TaskRegister:
        """TR with its hidden part."""
        return TaskRegister(*self._uc.reg_read(x86.UC_X86_REG_TR))

    @property
    def registers(self) -> Registers:
        """The registers as they are now."""
        return self._reader.read()

    def info(self, address: int) -> CodeInfo:
        """What the instruction at a virtual address is."""
        return self._infos.get(address) or self._code.look(address)

    def save(self, territory: Territory) -> Snapshot:
        """The state of this CPU now."""
        owned = b""
        if territory.owned is not None:
            low, high = territory.owned
            owned = self.shared.read(low, high - low)
        return Snapshot(self._reader.read(), self.guest.changed(), owned, self._uc.context_save())

    def load(self, snapshot: Snapshot, territory: Territory) -> None:
        """Make this CPU what it was when the snapshot was taken."""
        self.take_registers(snapshot)
        self.guest.restore(snapshot.chunks)
        if territory.owned is not None:
            self.shared.write(territory.owned[0], snapshot.owned)

    def take_registers(self, snapshot: Snapshot) -> None:
        """Only the registers of a snapshot; memory stays as it is."""
        self._uc.context_restore(snapshot.context)
        self._root = snapshot.registers["cr3"]
        self._reader.write_cr3(self._root)  # drops the TLB

    def run(
        self,
        territory: Territory,
        stops: Container[int],
        *,
        at_fences: bool = False,
        budget: int = BUDGET,
        taken: int = 0,
    ) -> Execution:
        """Run the instruction at rip, and on to just before the first one that is in ``stops``.

        Every ``pause`` stops the run, too; with ``at_fences``, so does every serializing or locked
        instruction. A run that cannot go on, or takes more than ``budget`` instructions, ends with
        a failure; what it then wrote outside of its territory is undone. ``taken`` is how many
        instructions of the same step ran before, so that the end of the budget does not depend on
        how a step was cut.
        """
        run = Execution()
        self._ledger.begin(run, territory)
        self._arm(run, stops, at_fences, budget, taken)
        try:
            self._uc.emu_start(self._reader.rip, 0)
        except UcError as error:
            self._fail("no-fault", f"the CPU cannot go on: {error}")
        self._hooks.raise_again()
        if not self._stopped and run.failure is None:
            self._fail("no-fault", "the CPU stopped by itself")
        self._ledger.undo()
        return run

    def place(self) -> str:
        """The instruction of the current run that ran last, for messages."""
        trace = self._run.trace
        return self.info(trace[-1]).label if trace else "the first instruction"

    def _arm(
        self, run: Execution, stops: Container[int], at_fences: bool, budget: int, taken: int
    ) -> None:
        self._run = run
        self._stops = stops
        self._at_fences = at_fences
        self._budget = budget
        self._taken = taken
        self._milestone = budget // 2
        self._trace.begin(run.trace, self._quiet, stops, self._milestone - taken - 1)
        self._cycle = CycleFinder()
        self._stopped = False
        self._due: CodeInfo | None = (
            None  # the instruction after which there is something to look at
        )

    def _fail(self, prop: str, what: str) -> None:
        self._trace.quiet = _NONE
        if self._run.failure is None:
            self._run.failure = Violation(prop, f"{what}, at {self.place()}")
        self._uc.emu_stop()

    def _on_code(self, address: int) -> None:
        trace = self._run.trace
        if self._trace.quiet is _NONE and not self._may_go_on():
            return
        info = self._infos.get(address) or self._code.look(address)
        taken = self._taken + len(trace) + 1
        stops = address in self._stops
        if info.is_simple:
            self._quiet.add(address)
            if taken < self._milestone and not stops:
                trace.append(address)
                return
        if trace and (stops or info.kind is OpKind.PAUSE or (self._at_fences and info.is_fence)):
            self._stopped = True
            self._trace.quiet = _NONE
            self._uc.emu_stop()
            return
        trace.append(address)
        if info.refused:
            self._fail("no-fault", info.refused)
        elif info.moves and (why := refused_move(*info.moves, self._reader.read())):
            self._fail("no-fault", why)
        elif info.loads_segment and self._controls.is_own_table(self._reader.read_controls()):
            self._fail("no-fault", "loads a segment from a GDT of the patch's own")
        elif taken > self._budget:
            self._fail("progress", f"no end after {counted(self._budget, 'instruction')}")
        elif taken >= self._milestone and self._cycle.closes(
            address, self._ledger.count, self._reader
        ):
            self._fail("progress", "goes round for ever, and nothing changes")
        if info.changes_controls or info.is_ltr:
            self._due = info
            self._trace.quiet = _NONE

    def _may_go_on(self) -> bool:
        """What is due before the next instruction; False where none may run any more."""
        if self._stopped or self._run.failure is not None:
            self._uc.emu_stop()
            return False
        self._trace.quiet = self._quiet
        due, self._due = self._due, None
        if due is None:
            return True
        if due.changes_controls:
            complaint = self._controls.complaint(self._reader.read_controls(), self._root)
            if complaint:
                self._fail("no-fault", f"beyond what the emulation models: {complaint}")
                return False
        if due.is_ltr:
            self._run.loaded.append(LoadedTask.of(self._reader.read(), self._read_virtual))
        return True

    def _read_virtual(self, address: int, size: int) -> bytes:
        for region in self._places:
            if region.virtual <= address and address + size <= region.end:
                arena = self.private if region.private else self.shared
                return arena.read(region.physical_of(address), size)
        return b""

    def _on_exception(self, _: int, number: int, data: None) -> None:
        name = EXCEPTIONS.get(number, f"exception {number}")
        if number == 14:
            name += f" on {self._uc.reg_read(x86.UC_X86_REG_CR2):#x}"
        self._fail("no-fault", name)

    def _on_invalid(self, _: int, data: None) -> bool:
        self._fail("no-fault", EXCEPTIONS[6])
        return False
