"""A second emulation of a kqemu-shaped module, which shares no code with kpatch.

N Unicorn engines share one memory, every CPU has a guest of its own at an address of its own, and
the module's switch runs under the schedules that it is given. Nothing is merged, reduced or
memoised, and nothing is proven: it only judges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, UC_PROT_ALL, Uc, UcError
from unicorn import x86_const as x86

from tests.secondsource.places import (
    BOOTED,
    BUSY_TSS,
    CODE,
    CR0,
    CR4,
    DIRECT,
    EFER,
    FREE_TSS,
    HOME,
    IDT,
    KERNEL,
    MEMORY,
    MODULE,
    PCPU,
    PCPU_SIZE,
    STACK_SIZE,
    STACKS,
    TABLES,
    TSS,
    TSS_SIZE,
    Host,
    descriptor,
)
from tests.secondsource.schedules import Schedule
from tests.secondsource.world import World

_KEPT: Final = (
    *("RBX", "RBP", "R12", "R13", "R14", "R15"),
    *("CR0", "CR3", "CR4", "CS", "SS", "LDTR", "GDTR", "IDTR"),
)
_GENERAL: Final = (*_KEPT[:6], "RAX", "RCX", "RDX", "RSI", "R8", "R9", "R10", "R11")
_ENOUGH: Final = 20_000  # instructions that no round comes near
_TURN: Final = 60
_MSR_EFER: Final = 0xC0000080
_IF_AND_DF: Final = 0x600


class Finding(NamedTuple):
    """What is wrong with one CPU, or (-1) with the memory that they share."""

    cpu: int
    wrong: str


class Machine(World):
    """N CPUs, booted, each about to call the switch."""

    def __init__(
        self,
        module: bytes,
        header: Sequence[int],
        fields: Mapping[str, int],
        code: bytes,
        cpus: int,
        host: Host,
    ) -> None:
        super().__init__(module, header, fields, code, cpus, host)
        self.findings: list[Finding] = []
        self._before: list[dict[str, Any]] = [{} for _ in range(cpus)]
        self._faulted: set[int] = set()
        self._engines = [self._engine(cpu) for cpu in range(cpus)]
        for cpu in range(cpus):
            self._boot(cpu)
        for cpu in range(cpus):
            self._call(cpu)
        self._image = bytes(self.bytes)
        self._contexts = [engine.context_save() for engine in self._engines]

    def run(self, schedule: Schedule, rounds: int = 1) -> tuple[Finding, ...]:
        """Run ``schedule``, then all CPUs in turns, until each came back ``rounds`` times."""
        self._reset()
        left, spent = [rounds] * self.cpus, [0] * self.cpus
        for cpu, count in self._turns(schedule, left):
            if not left[cpu]:
                continue
            self._go(cpu, count)
            spent[cpu] += count
            if self._faulted:
                return tuple(self.findings)
            if self._register(cpu, "RIP") == HOME:
                left[cpu] -= 1
                self.findings += (Finding(cpu, why) for why in self._wrong(cpu))
                self._call(cpu)
            elif spent[cpu] > _ENOUGH:
                return (*self.findings, Finding(cpu, "does not come back"))
        return (*self.findings, *(Finding(-1, why) for why in self._traces()))

    def length(self) -> int:
        """Instructions of one CPU's undisturbed round."""
        self._reset()
        for count in range(1, _ENOUGH):
            self._go(0, 1)
            if self._register(0, "RIP") == HOME:
                return count
        raise RuntimeError("one CPU alone does not come back")

    def _reset(self) -> None:
        self.bytes[:] = self._image
        for cpu in self._faulted:  # an engine that faulted may halt silently at its next fault
            self._engines[cpu] = self._engine(cpu)
        self._faulted.clear()
        self.findings.clear()
        for engine, context in zip(self._engines, self._contexts, strict=True):
            engine.context_restore(context)
            engine.reg_write(x86.UC_X86_REG_CR3, TABLES)  # forgets translations

    def _turns(self, schedule: Schedule, left: Sequence[int]) -> Iterator[tuple[int, int]]:
        yield from schedule
        while any(left):
            yield from ((cpu, _TURN) for cpu in range(self.cpus))

    def _go(self, cpu: int, count: int) -> None:
        engine = self._engines[cpu]
        for steps in (count, 1):
            start = self._register(cpu, "RIP")
            try:
                engine.emu_start(start, HOME, count=steps)
            except UcError as error:
                self._fault(cpu, str(error))
            if self._faulted or self._register(cpu, "RIP") != start:
                return
        self._fault(cpu, "halted")  # Unicorn does so where it takes a fault for a triple one

    def _fault(self, cpu: int, why: str) -> None:
        if cpu not in self._faulted:
            self._faulted.add(cpu)
            self.findings.append(Finding(cpu, f"{why} at {self._register(cpu, 'RIP'):#x}"))

    def _wrong(self, cpu: int) -> Iterator[str]:
        """What must hold when the switch has returned to C."""
        for name, value in self._before[cpu].items():
            if self._register(cpu, name) != value:
                yield f"{name} changed"
        if self._register(cpu, "RSP") != self._stack(cpu) + 8:
            yield "RSP is elsewhere"
        if self._register(cpu, "EFLAGS") & _IF_AND_DF:
            yield "interrupts on, or the direction flag set"
        if self._tss(cpu) != self._own_tss(cpu):
            yield f"TR is at {self._tss(cpu):#x}, not at this CPU's TSS"

    def _traces(self) -> Iterator[str]:
        """What must hold in memory when every CPU is back."""
        slots: set[int] = set()
        for cpu in range(self.cpus):
            at = self.gdt(cpu) + self.host.selector
            slots.update(range(at, at + 16))
            found = struct.unpack("<2Q", self.bytes[at : at + 16])
            owners = range(self.cpus) if self.host.shared else (cpu,)
            if found not in [descriptor(self._own_tss(each), BUSY_TSS) for each in owners]:
                yield f"the slot holds {found[0]:#x} {found[1]:#x}"
        for start, end in ((TABLES, STACKS), (CODE, MODULE + len(self.module.memory))):
            now, then = bytearray(self.bytes[start:end]), self._image[start:end]
            for at in (at for at in slots if start <= at < end):
                now[at - start] = then[at - start]
            if now != then:
                at = next(at for at in range(len(now)) if now[at] != then[at])
                yield f"memory changed at {start + at:#x}"

    def _boot(self, cpu: int) -> None:
        """As the kernel does: write the slot, load it. The last CPU's descriptor stays."""
        slot = self.gdt(cpu) + self.host.selector
        self.put(slot, *descriptor(self._own_tss(cpu), FREE_TSS))
        self._engines[cpu].emu_start(KERNEL + CODE, KERNEL + CODE + BOOTED, count=20)
        if self._tss(cpu) != self._own_tss(cpu):
            raise RuntimeError(f"CPU {cpu} did not boot")

    def _call(self, cpu: int) -> None:
        """C is about to call the switch: its registers, its stack, its %gs."""
        values = {
            name: 0xC0FFEE0000000000 + 0x10001 * number + cpu
            for number, name in enumerate(_GENERAL)
        }
        values |= {
            "RSP": self._stack(cpu),
            "RDI": self.state(cpu),
            "GS_BASE": KERNEL + PCPU + PCPU_SIZE * cpu,
            "EFLAGS": 2,
            "RIP": DIRECT + self.guest(cpu) + self.header[0],
        }
        for name, value in values.items():
            self._engines[cpu].reg_write(getattr(x86, f"UC_X86_REG_{name}"), value)
        self.put(self._stack(cpu) - KERNEL, HOME)
        self._before[cpu] = {name: self._register(cpu, name) for name in _KEPT}

    def _stack(self, cpu: int) -> int:
        return KERNEL + STACKS + STACK_SIZE * (cpu + 1) - 0x108

    def _own_tss(self, cpu: int) -> int:
        return KERNEL + TSS + TSS_SIZE * cpu

    def _tss(self, cpu: int) -> int:
        """The hidden base of TR."""
        return int(self._register(cpu, "TR")[1])

    def _register(self, cpu: int, name: str) -> Any:
        value = self._engines[cpu].reg_read(getattr(x86, f"UC_X86_REG_{name}"))
        return value[0] if name == "LDTR" else value

    def _engine(self, cpu: int) -> Any:
        engine = Uc(UC_ARCH_X86, UC_MODE_64)
        engine.mem_map_ptr(0, MEMORY, UC_PROT_ALL, self.pointer)
        engine.reg_write(x86.UC_X86_REG_CR4, CR4)
        engine.reg_write(x86.UC_X86_REG_CR3, TABLES)
        engine.msr_write(_MSR_EFER, EFER)
        engine.reg_write(x86.UC_X86_REG_CR0, CR0)
        end = self.host.selector + 15
        engine.reg_write(x86.UC_X86_REG_GDTR, (0, KERNEL + self.gdt(cpu), end, 0))
        engine.reg_write(x86.UC_X86_REG_IDTR, (0, KERNEL + IDT, 0xFFF, 0))
        engine.reg_write(x86.UC_X86_REG_RSP, self._stack(cpu))
        engine.reg_write(x86.UC_X86_REG_RDI, self.host.selector)

        def interrupted(uc: Any, number: int, _: object) -> None:
            self._fault(cpu, f"exception {number}")
            uc.emu_stop()

        engine.hook_add(UC_HOOK_INTR, interrupted)
        return engine
