"""What a machine said: read from the lines of the serial port, and from nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from kpatch.units import counted

MachineOutcome = Literal["done", "unfinished", "hang", "reset", "broken"]

MONITOR: Final = 100
NOBODY: Final = 101
_CONTROLS: Final = ("cr0", "cr3", "cr4", "dr7", "flags", "cs", "ss", "gdtr", "ldtr", "tr")
"""Bits of ``wrong``, lowest first."""

_BLOCKS: Final = ("beat", "report", "message")
"""Lines behind which the CPUs' numbers begin anew."""


class CpuReport(NamedTuple):
    """What one CPU counted. ``ticks`` are of all rounds, ``least`` of the quickest block of them;
    ``vector`` to ``cr2`` are of its first fault.
    """

    number: int
    rounds: int
    ist: int
    rsp0: int
    loaded: int
    faults: int
    registers: int
    controls: int
    wrong: int
    stack: int
    monitor: int
    ticks: int
    least: int
    vector: int
    error: int
    rip: int
    cr2: int


class Process(NamedTuple):
    """A process on a CPU of the panic: its calls of the switch, and how often its kernel stack was
    not what it had left there.
    """

    cpu: int
    rounds: int
    clobbered: int


class Panic(NamedTuple):
    """The lines on the console, the CPU that stopped, and whose kernel stack it was on."""

    message: tuple[str, ...]
    cpu: int
    stack: int
    vector: int
    error: int


@dataclass(frozen=True)
class MachineRun:
    """One run of one module on one machine. ``registers`` has a line for each CPU of a hang.

    Of an unfinished run, which the clock ended, there is what the CPUs had counted last.
    """

    outcome: MachineOutcome
    cpus: tuple[CpuReport, ...] = ()
    lock: int = 0
    changed: int = 0
    seconds: float = 0.0
    said: str = ""
    registers: tuple[str, ...] = field(default=())
    processes: tuple[Process, ...] = ()
    panic: Panic | None = None

    @property
    def rounds(self) -> int:
        """Rounds that all CPUs ran together."""
        return sum(cpu.rounds for cpu in self.cpus)

    @property
    def wrong_tss(self) -> int:
        """Rounds after which an interrupt went through another TSS than the CPU's own."""
        return sum(max(cpu.ist, cpu.rsp0) for cpu in self.cpus)

    @property
    def faults(self) -> int:
        """Faults in the switch."""
        return sum(cpu.faults for cpu in self.cpus)

    @property
    def findings(self) -> tuple[str, ...]:
        """Everything that is wrong, a line each; empty for a run that ended well."""
        return tuple(_findings(self))


def _findings(run: MachineRun) -> Iterator[str]:
    if run.outcome == "hang":
        yield "the machine hangs: no CPU may wait for ever"
    elif run.outcome == "reset":
        yield "the machine reset itself: a fault while a fault was delivered"
    elif run.outcome == "broken":
        yield f"the machine stopped: {run.said or 'it said nothing'}"
    for cpu in run.cpus:
        yield from (f"CPU {cpu.number}: {line}" for line in _of_cpu(cpu))
    if run.lock:
        yield "the lock is not free at the end"
    if run.changed:
        yield "memory of the kernel or of the module was changed"


def _of_cpu(cpu: CpuReport) -> Iterator[str]:
    if cpu.ist or cpu.rsp0:
        whose = {MONITOR: "the monitor's", NOBODY: "nobody's"}.get(
            cpu.loaded, f"that of CPU {cpu.loaded}"
        )
        yield (
            f"a wrong TSS after {max(cpu.ist, cpu.rsp0)} of {counted(cpu.rounds, 'round')}, "
            f"the last time {whose}"
        )
    if cpu.faults:
        yield (
            f"{counted(cpu.faults, 'fault')}, the first of vector {cpu.vector} with error code "
            f"{cpu.error:#x} at {cpu.rip:#x}"
        )
    if cpu.registers:
        yield f"callee-saved registers or rsp were lost {counted(cpu.registers, 'time')}"
    if cpu.controls:
        names = ", ".join(n for bit, n in enumerate(_CONTROLS) if cpu.wrong >> bit & 1)
        yield f"{names} did not come back, {counted(cpu.controls, 'time')}"
    if cpu.stack:
        yield "the caller's stack was written"
    if cpu.monitor:
        yield "the monitor's registers were lost, or its guest did not come to its end"


def read_result(text: str, seconds: float) -> MachineRun | None:
    """The run that the lines tell of; None if they stop before the end."""
    lines = _lines(text)
    if not lines or lines[-1][0] != "end" or not text.endswith("\n"):
        return None
    said = " ".join(lines[-1][1:])
    if said != "done":
        why = " ".join(lines[-2] if len(lines) > 1 else lines[-1])
        return MachineRun("broken", seconds=seconds, said=f"{said}: {why}")
    lines = lines[max((n for n, words in enumerate(lines) if words[0] in _BLOCKS), default=0) :]
    try:
        reports = tuple(_report(words[1:]) for words in lines if words[0] == "cpu")
        processes = tuple(Process(**_numbers(w[1:])) for w in lines if w[0] == "process")
        if processes:
            return MachineRun(
                "done", seconds=seconds, processes=processes, panic=_panic(text, lines)
            )
        memory = _numbers(next(words[1:] for words in lines if words[0] == "memory"))
        return MachineRun("done", reports, memory["lock"], memory["changed"], seconds)
    except (ValueError, KeyError, TypeError, StopIteration):
        return MachineRun("broken", seconds=seconds, said="its result does not read")


class Beat(NamedTuple):
    """How far a run was: what each CPU had counted, and the rounds that it is to run."""

    rounds: int
    cpus: tuple[CpuReport, ...]

    def moved_since(self, before: Beat | None) -> bool:
        """Whether every CPU that had rounds left has run some."""
        if before is None or len(before.cpus) != len(self.cpus):
            return before is None
        return all(
            now.rounds > then.rounds or then.rounds >= self.rounds
            for then, now in zip(before.cpus, self.cpus, strict=True)
        )


def last_beat(text: str, cpus: int) -> Beat | None:
    """The last whole one; None if there is none yet."""
    lines = _lines(text)
    starts = [number for number, words in enumerate(lines) if words[0] == "beat"]
    for start in reversed(starts):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            reports = tuple(
                _report(words[1:]) for words in lines[start + 1 :][:cpus] if words[0] == "cpu"
            )
            if len(reports) == cpus:
                return Beat(_numbers(lines[start][1:])["rounds"], reports)
    return None


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.replace("\r", "").split("\n") if line.strip()]


def _panic(text: str, lines: list[list[str]]) -> Panic | None:
    for words in lines:
        if words[0] == "panic":
            shown = text.replace("\r", "").partition("message\n")[2].partition("\npanic cpu ")[0]
            return Panic(tuple(shown.splitlines()), **_numbers(words[1:]))
    return None


def _report(words: list[str]) -> CpuReport:
    return CpuReport(**_numbers(words))


def _numbers(words: list[str]) -> dict[str, int]:
    return {name: int(value, 0) for name, value in zip(words[::2], words[1::2], strict=True)}
