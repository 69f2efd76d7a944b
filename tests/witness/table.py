"""Who sees what: samples and mutants against Unicorn, QEMU and Bochs.

``python -m tests.witness.table`` runs everything and writes the table in docs/witnesses.md anew;
with ``--check`` it is only printed, and what no chance decides is held against the page.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from kpatch.elf.module import read_module
from kpatch.errors import KpatchError, UnknownModuleError
from kpatch.machinetest import settings_for, subject_of
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.prepare import prepare
from kpatch.proving import case_of
from kpatch.verify.explore import Answer as Found
from kpatch.verify.proof.tasks import Bounds, Case, Task, run_task
from kpatch.witness.machine.emulators import run
from kpatch.witness.machine.job import MachineSettings, rom
from kpatch.witness.machine.result import MachineRun
from tests.verify.mutants.table import MUTANTS
from tests.verify.mutants.variant import LEAVE

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "witnesses.md"
HEADING: Final = "| what | Unicorn (every interleaving) | QEMU | Bochs |\n|---|---|---|---|\n"
ROUNDS: Final = {"qemu": 2_000, "bochs": 300}
LIMITS: Final = {"qemu": (15.0, 240.0), "bochs": (30.0, 480.0)}
"""Seconds; the second is for a host that is slow, or busy with other things."""
CHOSEN: Final = (
    "no lock",
    "the lock is never released",
    "the lock is released before ltr",
    "type 0x8b is written",
    "the descriptor of a 16-bit TSS",
    "limit 0",
    "the base is written after ltr",
    "no ltr",
    "the TSSs lie 96 bytes apart",
    "cpuid is read from the mask",
    "%gs is read at the exit",
    "rdi is clobbered at the exit",
    "the saved rbx is clobbered",
    "the direction flag is left set",
    "the TSS is written",
    "a breakpoint is set",
)
"""Mutants, by name: of each kind some."""


class Row(NamedTuple):
    """A line of the table, and what it is about; no case for a module that cannot be run."""

    name: str
    case: Case | None
    why: str = ""


def rows() -> Iterator[Row]:
    """Every sample, as built and patched, and the chosen mutants."""
    manifest = tomllib.loads((ROOT / "samples" / "MANIFEST.toml").read_text())
    for each in manifest["sample"]:
        if each["file"].endswith(".ko"):
            yield from _sample(each["file"])
    mutants = {each.name: each for each in MUTANTS}
    yield from (Row(f"mutant: {name}", mutants[name].case) for name in CHOSEN)


def _sample(name: str) -> Iterator[Row]:
    shown = name
    try:
        found = assess(read_module((ROOT / "samples" / name).read_bytes(), name))
        yield Row(shown, case_of(found))
        if found.verdict is Verdict.SOURCE_FIXED:
            return
        shown = f"{name}, patched"
        made = read_module(apply_plan(prepare(found)), name)
        yield Row(shown, case_of(assess(made)))
    except KpatchError as error:
        yield Row(shown, None, f"refused ({error.exit_code})")


def by_unicorn(case: Case) -> str:
    """The properties that do not hold where two guests leave at once."""
    task = Task("obligation", "table", case.module, LEAVE)
    if case.fix.private_only:
        return "not run on a shared GDT"
    result = run_task(case, task, Bounds(max_states=200_000)).result
    if result.verdict is Found.PROVEN:
        return "right"
    return ", ".join(sorted({each.prop for each in result.counterexamples})) or str(result.bound)


def by_machine(machine: str, case: Case, known: str = "") -> str:
    """What the machine counts, in a word or two. Where the clock ends it, and that is not what is
    ``known``, it gets more time.
    """
    usual = settings_for(machine, case, rounds=ROUNDS[machine])
    settings = MachineSettings(**{**vars(usual), "private_gdt": case.fix.private_only})
    try:
        made = rom(subject_of(case, case.module), settings)
    except UnknownModuleError:
        return "not run"
    for limit in LIMITS[machine]:
        found = short(run(machine, made, settings.cpus, limit))
        if found == known or found not in ("unfinished", "hang"):
            break
    return found


def short(found: MachineRun) -> str:
    """A run in a few words, without numbers that change from run to run."""
    if found.outcome != "done":
        return found.outcome
    kinds = {
        "wrong TSS": found.wrong_tss,
        "faults": found.faults,
        "registers": sum(each.registers for each in found.cpus),
        "controls": sum(each.controls for each in found.cpus),
        "stack": sum(each.stack for each in found.cpus),
        "lock": found.lock,
        "memory": found.changed,
    }
    return ", ".join(name for name, count in kinds.items() if count) or "right"


def line(row: Row) -> str:
    """The row as Markdown."""
    if row.case is None:
        return f"| {row.name} | {row.why} | | |\n"
    known = dict(zip(LIMITS, committed().get(row.name, ("",) * 3)[1:], strict=True))
    cells = (by_unicorn(row.case), *(by_machine(each, row.case, known[each]) for each in LIMITS))
    return f"| {row.name} | {' | '.join(cells)} |\n"


def committed() -> dict[str, tuple[str, ...]]:
    """The rows in docs/witnesses.md: name, then what each engine sees."""
    text = PAGE.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n\n")[0]
    return cells_of(text)


@cache
def _all() -> tuple[Row, ...]:
    return tuple(rows())


def _made(number: int) -> str:
    return line(_all()[number])


def made() -> Iterator[str]:
    """The lines of the table, as they come; every processor runs some."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for text in pool.map(_made, range(len(_all()))):
            print(text, end="", flush=True)
            yield text


def cells_of(text: str) -> dict[str, tuple[str, ...]]:
    """What each engine sees, by the name of a line."""
    cells = ([cell.strip() for cell in each.split("|")[1:-1]] for each in text.splitlines())
    return {name: tuple(rest) for name, *rest in cells}


def differences(found: dict[str, tuple[str, ...]]) -> list[str]:
    """Names of lines that are not as the page has them, chance aside.

    The proof says the same every time. A machine finds a patched module right, always.
    """
    known = committed()
    return [
        name
        for name in known.keys() | found.keys()
        if known.get(name, ("",))[0] != found.get(name, ("",))[0]
        or (name.endswith(", patched") and known[name] != found[name])
    ]


def main(arguments: list[str]) -> int:
    """Write the table, or check it."""
    if arguments == ["--check"]:
        wrong = differences(cells_of("".join(made())))
        print(*(f"not as in {PAGE.name}: {name}" for name in wrong), sep="\n")
        return 1 if wrong else 0
    table = "".join(made())
    before, _, behind = PAGE.read_text(encoding="utf-8").partition(HEADING)
    rest = behind.partition("\n\n")[2]
    PAGE.write_text(f"{before}{HEADING}{table}" + (f"\n{rest}" if rest else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
