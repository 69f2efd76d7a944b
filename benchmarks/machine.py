"""A round through the switch on QEMU and on Bochs: unpatched, patched, and with source fix A."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import sized
from kpatch.elf.module import Module, read_module
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Instruction
from kpatch.machinetest import settings_for, subject_of
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.proving import case_of
from kpatch.verify.proof.tasks import Case
from kpatch.witness.machine.emulators import run
from kpatch.witness.machine.job import MachineSettings, rom
from kpatch.witness.machine.result import CpuReport

_SAMPLES = Path(__file__).parents[1] / "samples"
_TURNS = sized(9, 2)
_FEW = sized(1_000, 100)
_ROUNDS = {"qemu": sized(20_000, 2_000), "bochs": sized(500, 50)}
_DRIVER_ROUNDS = sized(2_000, 200)
_STARTS = sized(5, 1)
_BLOCKS = {"rounds": 25, "driver": 2}
"""Rounds in half a millisecond: in one of hundreds of such blocks nothing else runs."""

# SDM vol. 3, 9.3, "Serializing Instructions", as far as the switch has them.
_SERIALIZING = ("lgdt", "lidt", "lldt", "ltr", "wrmsr", "cpuid", "iretq")


def _read(name: str) -> Module:
    return read_module((_SAMPLES / name).read_bytes(), name)


def _cases() -> dict[str, Case]:
    unpatched = _read("kqemu-7.ko")
    patched = read_module(apply_plan(prepare(assess(unpatched))), "kqemu-7.ko")
    modules = {
        "unpatched": unpatched,
        "patched": patched,
        "source fix A": _read("kqemu-7-fix-a.ko"),
    }
    return {name: case_of(assess(module)) for name, module in modules.items()}


def _settings(machine: str, case: Case) -> MachineSettings:
    """One CPU that waits for nobody and looks at nothing: what is left is the switch."""
    usual = settings_for(machine, case, rounds=_ROUNDS[machine])
    return MachineSettings(
        cpus=1,
        rounds=_ROUNDS[machine],
        delay=0,
        observe=False,
        cpuid_offset=usual.cpuid_offset,
        tr_selector=usual.tr_selector,
    )


def _run(machine: str, case: Case, rounds: int, mode: str = "rounds") -> tuple[float, CpuReport]:
    """Seconds of processor time of the whole machine, and what its CPU counted."""
    settings = replace(_settings(machine, case), rounds=rounds, mode=mode, block=_BLOCKS[mode])
    subject = subject_of(case, case.module)
    if mode == "driver":  # its own C side calls what a source fix has behind the switch
        subject = replace(subject, after=None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run(machine, rom(subject, settings), 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if found.findings:
        raise SystemExit(f"{machine}: {found.findings}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, found.cpus[0]


def _instructions(case: Case) -> float:
    """Instructions of a round, with the machine's own: the ticks of a CPU in Bochs."""
    return _run("bochs", case, _ROUNDS["bochs"])[1].ticks / _ROUNDS["bochs"]


def _serializing(case: Case) -> int:
    """Serializing instructions in the code that a round runs through."""
    return sum(
        each.mnemonic in _SERIALIZING or (each.mnemonic == "mov" and _control(each))
        for each in _code(case)
    )


def _control(instruction: Instruction) -> bool:
    target = instruction.text.split()[1]
    return target.startswith(("cr", "dr"))


def _code(case: Case) -> Iterator[Instruction]:
    image = case.match.image
    contents = case.module.data[image.start : image.start + image.size]
    routines = subject_of(case, case.module).switch
    for start in ("kernel_to_monitor", "monitor_side", "monitor_to_kernel"):
        yield from _until_return(contents, routines[start])
    yield from _until_return(contents, case.match.image.header["exit_end"])
    section = case.module.section_named(case.match.signature.code_section)
    if section is not None:
        yield from decode(case.module.contents(section))
    fix = case.fix.function
    if fix is not None:
        home = case.module.sections[fix.section]
        yield from _until_return(case.module.contents(home), fix.offset)


def _until_return(contents: bytes, start: int) -> Iterator[Instruction]:
    for each in decode(contents[start:], start):
        yield each
        if each.is_return:
            return


def _turns(cases: dict[str, Case], mode: str, rounds: int) -> dict[str, list[int]]:
    """Ticks of the quickest block of each case, for every turn; the turns go in turn, so that what
    else runs here, or how fast the processor is just then, meets all alike.
    """
    turns: dict[str, list[int]] = {name: [] for name in cases}
    for _ in range(_TURNS):
        for name, case in cases.items():
            turns[name].append(_run("qemu", case, rounds, mode)[1].least)
    return turns


def _ratio(turns: dict[str, list[int]], name: str) -> str:
    """A case against the unpatched module: the least of all turns, and turn by turn."""
    base = turns["unpatched"]
    pairs = [a / b for a, b in zip(turns[name], base, strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4)
    return (
        f"{min(turns[name]) / min(base):.3f} of unpatched "
        f"(turn by turn {middle:.3f}, half of {_TURNS} turns {low:.3f} to {high:.3f})"
    )


def _microseconds(case: Case) -> float:
    """Processor time of a round on QEMU: of many rounds, without what the start takes."""
    few, many = (
        min(_run("qemu", case, rounds)[0] for _ in range(_STARTS))
        for rounds in (_FEW, _ROUNDS["qemu"])
    )
    return (many - few) / (_ROUNDS["qemu"] - _FEW) * 1e6


def main() -> None:
    """Print time a round, ratios, instructions and serializing instructions."""
    cases = _cases()
    switch = _turns(cases, "rounds", _ROUNDS["qemu"])
    driver = _turns(cases, "driver", _DRIVER_ROUNDS)
    usual = _microseconds(cases["unpatched"])
    print(f"unpatched: {usual:.1f} us a round on QEMU, {1e6 / usual:.0f} rounds a second")
    for name, case in cases.items():
        print(
            f"{name}: {_ratio(switch, name)}; through the ioctl {_ratio(driver, name)}; "
            f"{_instructions(case):.0f} instructions a round with the machine's own, "
            f"{_serializing(case)} in the switch serializing"
        )


if __name__ == "__main__":
    main()
