"""A small language for concurrent programs, and the programs that the tests explore.

A thread is a list of instructions. Cells hold text; ``{me}`` in a value is the number of the CPU
that runs the instruction, ``$r`` the contents of register r. Every instruction is a step
of its own, also those that no other CPU can notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kpatch.verify.explore.program import Cell, Local, OpKind, Outcome, Pending, Value, Violation

Registers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Instruction:
    """One instruction; which fields matter depends on ``name``."""

    name: str
    cell: str = ""
    register: str = ""
    value: str = ""
    target: str = ""


Thread = Sequence[Instruction]


def load(register: str, cell: str) -> Instruction:
    return Instruction("load", cell, register)


def store(cell: str, value: str) -> Instruction:
    return Instruction("store", cell, value=value)


def xchg(register: str, cell: str, value: str) -> Instruction:
    """Atomic: the register gets the old contents, the cell the value."""
    return Instruction("xchg", cell, register, value)


def ltr(cell: str) -> Instruction:
    """Register ``tr`` gets the TSS that the cell names; faults if it is busy, else sets it busy."""
    return Instruction("ltr", cell, "tr")


def copy(source: str, cell: str) -> Instruction:
    """A load and a store in one instruction that is not atomic."""
    return Instruction("copy", cell, value=source)


def add(cell: str, value: str) -> Instruction:
    """A load, then a store of the sum: not atomic."""
    return Instruction("add", cell, value=value)


def lock_add(cell: str, value: str) -> Instruction:
    return Instruction("lock add", cell, value=value)


def xadd(register: str, cell: str, value: str) -> Instruction:
    """Atomic: the register gets the old contents, the cell the sum."""
    return Instruction("xadd", cell, register, value)


def move(register: str, value: str) -> Instruction:
    return Instruction("move", register=register, value=value)


def fence() -> Instruction:
    return Instruction("fence")


def pause() -> Instruction:
    return Instruction("pause")


def forget(register: str) -> Instruction:
    return Instruction("forget", register=register)


def label(name: str) -> Instruction:
    return Instruction("label", target=name)


def goto(target: str) -> Instruction:
    return Instruction("goto", target=target)


def go_if(register: str, value: str, target: str) -> Instruction:
    return Instruction("if", register=register, value=value, target=target)


def expect(register: str, value: str, prop: str) -> Instruction:
    """Violates a property if the register holds anything else."""
    return Instruction("expect", register=register, value=value, target=prop)


def fault(prop: str) -> Instruction:
    return Instruction("fault", target=prop)


def rest() -> Instruction:
    return Instruction("rest")


@dataclass
class Toy:
    """A Program made of threads, one a CPU.

    ``families`` has, for each cell, values with ``{me}`` that name a CPU. ``free`` cells must hold
    the given value when all have finished.
    """

    threads: Sequence[Thread]
    memory: Mapping[str, str]
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)
    free: Mapping[str, str] = field(default_factory=dict)
    moves: bool = False
    calls: int = 0

    def __post_init__(self) -> None:
        self.cells = {name: number for number, name in enumerate(self.memory)}
        self.states: list[tuple[int, int, Registers]] = []
        self.numbers: dict[tuple[int, int, Registers], int] = {}
        self.operations: dict[tuple[int, int], Pending] = {}
        codes = list(dict.fromkeys(tuple(thread) for thread in self.threads))
        self.codes = codes
        self.code_of = [codes.index(tuple(thread)) for thread in self.threads]

    @property
    def cpus(self) -> int:
        return len(self.threads)

    def initial_memory(self) -> tuple[Value, ...]:
        return tuple(value.encode() for value in self.memory.values())

    def initial(self, cpu: int) -> Local:
        return self.local(self.code_of[cpu], 0, {})

    def pending(self, cpu: int, local: Local) -> Pending:
        place = self.states[local][:2]
        found = self.operations.get(place)
        if found is None:
            found = self.operations[place] = self._operation(*place)
        return found

    def _operation(self, code: int, position: int) -> Pending:
        if position == IDLE:
            return Pending(OpKind.IDLE, label="idle")
        if position == FAULTED:
            return Pending(OpKind.FAULT, label="faulted")
        if position == len(self.codes[code]):
            return Pending(OpKind.DONE, label="done")
        now = self.codes[code][position]
        cell = (self.cells[now.cell],) if now.cell else ()
        text = f"{position}: {now.name} {now.cell}".strip()
        if now.name == "load":
            return Pending(OpKind.PLAIN, reads=cell, label=text)
        if now.name == "store":
            return Pending(OpKind.PLAIN, writes=cell, label=text)
        if now.name == "copy":
            return Pending(OpKind.PLAIN, (self.cells[now.value],), cell, text)
        if now.name == "add":
            return Pending(OpKind.PLAIN, cell, cell, text)
        if now.name in ("xchg", "lock add", "xadd"):
            return Pending(OpKind.LOCKED, cell, cell, text)
        if now.name == "ltr":
            return Pending(OpKind.SERIALIZING, cell, cell, text)
        kinds = {"fence": OpKind.SERIALIZING, "pause": OpKind.PAUSE, "rest": OpKind.REST}
        return Pending(kinds.get(now.name, OpKind.PLAIN), label=text)

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        self.calls += 1
        code, position, saved = self.states[local]
        now = self.codes[code][position]
        registers = dict(saved)
        cell = self.cells.get(now.cell, -1)
        writes: tuple[tuple[Cell, Value], ...] = ()
        violations: tuple[Violation, ...] = ()
        following = position + 1
        seen = values[0].decode() if values else ""
        value = self.meaning(cpu, now.value, registers)
        if now.name == "load":
            registers[now.register] = seen
        elif now.name == "store":
            writes = ((cell, value.encode()),)
        elif now.name == "copy":
            writes = ((cell, seen.encode()),)
        elif now.name in ("add", "lock add"):
            writes = ((cell, str(int(seen) + int(value)).encode()),)
        elif now.name == "xadd":
            registers[now.register] = seen
            writes = ((cell, str(int(seen) + int(value)).encode()),)
        elif now.name == "move":
            registers[now.register] = value
        elif now.name == "xchg":
            registers[now.register] = seen
            writes = ((cell, value.encode()),)
        elif now.name == "ltr":
            if seen.endswith("!"):
                violations = (Violation("no-fault", f"CPU {cpu} loads a busy TSS, {seen}"),)
                following = FAULTED
            else:
                registers["tr"] = seen
                writes = ((cell, f"{seen}!".encode()),)
        elif now.name == "forget":
            registers.pop(now.register, None)
        elif now.name == "goto" or (now.name == "if" and registers.get(now.register) == value):
            following = self.place(code, now.target)
        elif now.name == "expect" and registers.get(now.register) != value:
            found = registers.get(now.register)
            violations = (Violation(now.target, f"CPU {cpu} has {found}, not {value}"),)
        elif now.name == "fault":
            violations = (Violation(now.target, f"CPU {cpu} stops"),)
            following = FAULTED
        trace = (f"{now.name} {now.cell}",)
        return Outcome(self.local(code, following, registers), writes, violations, trace)

    def park(self, cpu: int, local: Local) -> tuple[Local, Value]:
        code, position, registers = self.states[local]
        words = [str(code), str(position + 1), *(f"{name}={text}" for name, text in registers)]
        return self.local(0, IDLE, {}), " ".join(words).encode()

    def resume(self, cpu: int, local: Local, guest: Value) -> Local:
        code, position, *words = guest.decode().split()
        return self.local(int(code), int(position), dict(word.split("=") for word in words))

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        return tuple(
            (
                self.cells[cell],
                tuple(template.format(me=cpu).encode() for cpu in range(self.cpus)),
            )
            for cell, templates in self.families.items()
            for template in templates
        )

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        return tuple(
            Violation("released", f"{name} is left at {memory[self.cells[name]].decode()}")
            for name, value in self.free.items()
            if memory[self.cells[name]] != value.encode()
        )

    def registers(self, local: Local) -> dict[str, str]:
        return dict(self.states[local][2])

    def local(self, code: int, position: int, registers: Mapping[str, str]) -> Local:
        state = code, position, tuple(sorted(registers.items()))
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
        return number

    def place(self, code: int, name: str) -> int:
        return self.codes[code].index(label(name))

    @staticmethod
    def meaning(cpu: int, value: str, registers: Mapping[str, str]) -> str:
        return registers.get(value[1:], "") if value[:1] == "$" else value.format(me=cpu)


IDLE = -1
FAULTED = -2

ACQUIRE = (
    label("acquire"),
    xchg("got", "lock", "1"),
    go_if("got", "0", "owner"),
    label("spin"),
    pause(),
    load("got", "lock"),
    go_if("got", "0", "acquire"),
    goto("spin"),
    label("owner"),
    forget("got"),
)
WRITE_OWN = (load("old", "slot"), forget("old"), store("slot", "tss{me}"))
LOAD_TR = (ltr("slot"), expect("tr", "tss{me}", "own-tss"), forget("tr"))
RELEASE = (store("lock", "0"),)
RIGHT = (*ACQUIRE, *WRITE_OWN, *LOAD_TR, *RELEASE)


def switches(
    cpus: int, thread: Thread, rounds: int = 1, moves: bool = False, lock_left: str = "0"
) -> Toy:
    """Every CPU runs the thread so many times, on one descriptor slot and one lock.

    The slot starts with the busy TSS of the last CPU, as the kernel leaves it.
    """
    code: list[Instruction] = []
    for number in range(rounds):
        if number:
            code.append(rest())
        code.extend(own_labels(thread, number))
    return Toy(
        [code] * cpus,
        {"lock": "0", "slot": f"tss{cpus - 1}!"},
        families={"slot": ["tss{me}", "tss{me}!"]},
        free={"lock": lock_left},
        moves=moves,
    )


def own_labels(thread: Thread, number: int) -> list[Instruction]:
    """The same instructions, with labels that no other part has."""
    return [
        replace(now, target=f"{now.target}{number}")
        if now.name in ("label", "goto", "if") and now.target != "end"
        else now
        for now in thread
    ]
