"""The keys of the documents of proofs and of other witnesses, for the type checker."""

from __future__ import annotations

from typing import TypedDict


class LaneStepFacts(TypedDict):
    """One move: who made it, the instructions that ran, and the machine after it."""

    cpu: int
    move: str
    instructions: list[str]
    descriptor: list[str]
    tasks: list[str]
    buffered: list[int]
    violations: list[str]


class LanesFacts(TypedDict):
    """A schedule, replayed."""

    cpus: int
    steps: list[LaneStepFacts]


class CounterexampleFacts(TypedDict):
    """A violated property, a schedule that shows it, and its replay."""

    prop: str
    what: str
    schedule: str
    preemptions: int
    fewest: bool
    lanes: LanesFacts


class ExploredFacts(TypedDict):
    """What one exploration found."""

    kind: str
    name: str
    scenario: str
    tr_selector: int
    expected: list[str]
    holds: bool
    verdict: str
    model: str
    cpus: int
    partial_order_reduction: bool
    waiting_loops_reduction: bool
    symmetry: str
    states: int
    transitions: int
    merged: int
    frontier: int
    final_states: int
    seconds: float
    bound: str
    max_states: int
    counterexamples: list[CounterexampleFacts]


class WindowFacts(TypedDict):
    """Instructions with a foreign TSS, the lock being free."""

    patched: int | None
    unpatched: int | None
    bound: int
    holds: bool


class CheckFacts(TypedDict):
    """A property of the whole switch, and what was found against it."""

    name: str
    sentence: str
    holds: bool
    wrong: list[str]
    unknown: list[str]


class ProofFacts(TypedDict):
    """A proof, and its verdict."""

    verdict: str
    patched: bool
    cpuid: int
    caveat: str
    signature: str
    seconds: float
    max_states: int
    every_instruction: bool
    window: WindowFacts | None
    checks: list[CheckFacts]
    explored: list[ExploredFacts]
    obligations: int
    missing: list[str]


class ReadingFacts(TypedDict):
    """Whether another reader sees a file as kpatch does."""

    reader: str
    version: str
    agrees: bool
    differences: list[str]


class CpuFacts(TypedDict):
    """What one CPU of a machine counted; ``vector`` to ``cr2`` are of its first fault."""

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


class TriedFacts(TypedDict):
    """One run on a machine: a control, which must fail, or the test."""

    name: str
    kind: str
    gdt: str
    holds: bool
    outcome: str
    rounds: int
    wrong_tss: int
    faults: int
    seconds: float
    findings: list[str]
    cpus: list[CpuFacts]
    registers: list[str]


class MachineFacts(TypedDict):
    """A module's own switch on one machine; ``enough`` rounds a CPU should do where they were too
    few, 0 if that is not known.
    """

    machine: str
    name: str
    version: str
    cpus: int
    rounds: int
    enough: int
    verdict: str
    runs: list[TriedFacts]


class Verified(ProofFacts):
    """What ``verify`` found of one module."""

    file: str
    readers: list[ReadingFacts]
    machines: list[MachineFacts]


class ReplayFacts(TypedDict):
    """One schedule that ``verify --replay`` ran."""

    file: str
    verdict: str
    obligation: str
    lanes: LanesFacts


class PanicFacts(TypedDict):
    """The lines on the console, the CPU that stopped, and whose kernel stack it was on."""

    message: list[str]
    cpu: int
    stack: int
    vector: int
    error: int


class ProcessFacts(TypedDict):
    """A process: its calls of the switch, and how often its kernel stack was overwritten."""

    cpu: int
    rounds: int
    clobbered: int


class SceneFacts(TypedDict):
    """One run of the panic, and whether it was expected to panic."""

    name: str
    must_panic: bool
    holds: bool
    panicked: bool
    outcome: str
    said: str
    seconds: float
    panic: PanicFacts | None
    processes: list[ProcessFacts]
    registers: list[str]


class Demonstrated(TypedDict):
    """What ``demo`` showed of one module."""

    file: str
    verdict: str
    machine: str
    name: str
    version: str
    cpus: int
    rounds: int
    holds: bool
    scenes: list[SceneFacts]
