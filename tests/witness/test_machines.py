"""A patched switch on QEMU and on Bochs: what each sees, and what it must not miss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kpatch import machinetest
from kpatch.elf.module import Module, read_module
from kpatch.errors import UnknownModuleError, UsageError
from kpatch.machinetest import Trial
from kpatch.units import SectionOffset
from kpatch.witness.machine import emulators, job
from kpatch.witness.machine.result import CpuReport, MachineRun, last_beat, read_result
from tests import referees
from tests.cli import schema
from tests.cli.harness import patched_bytes, run
from tests.objects import assembled
from tests.verify.mutants.table import MUTANTS
from tests.witness.machines import MODULE, case, patched, sample, trial, tried

LOCKLESS = "the patch without its lock"
_STORE_OF_THE_LOCK = bytes.fromhex("41c70000000000")  # mov dword [r8], 0
_PROVE_LITTLE = ("verify", "--cpus", "2", "--model", "sc", "--scenario", "leave", "--jobs", "1")

referees.require("qemu-system-x86_64", "bochs", "gcc", whole_module=True)


def changed(old: bytes, new: bytes) -> Module:
    """The patched sample with other bytes in its trampoline."""
    data = patched().data
    assert data.count(old) == 1 and len(old) == len(new)
    return read_module(data.replace(old, new), "changed.ko")


def test_on_qemu_the_patch_is_right_and_the_unpatched_module_is_not() -> None:
    found = tried(trial(MODULE, case(patched()), "qemu", 1000), "qemu")
    assert (found.outcome, found.findings, found.rounds) == ("done", (), 2000)
    found = tried(trial(MODULE, case(sample("kqemu-7.ko")), "qemu", 100), "qemu")
    # Every CPU but the last has the last one's TSS, after every round that did not end in the #GP
    # on a busy TSS, which two CPUs can run into as well.
    first, last = found.cpus
    assert first.ist == first.rsp0 and 100 - found.faults <= first.ist <= 100
    assert (first.loaded, last.ist, last.rsp0, last.loaded) == (1, 0, 0, 0)
    assert first.ist > 50


@pytest.mark.parametrize(
    ("machine", "cpus", "rounds"),
    [("qemu", 4, 100), ("qemu", job.MOST_CPUS, 1), ("bochs", job.MOST_CPUS, 1)],
)
def test_more_cpus_than_two(machine: str, cpus: int, rounds: int) -> None:
    one = trial(MODULE, case(patched("kqemu-6.ko")), machine, rounds)
    found = tried(replace(one, settings=replace(one.settings, cpus=cpus)), machine)
    assert (found.outcome, found.findings, found.rounds) == ("done", (), cpus * rounds)


def test_on_bochs_the_lock_makes_the_difference() -> None:
    right = tried(trial(MODULE, case(patched()), "bochs", 150), "bochs")
    assert (right.outcome, right.findings, right.rounds) == ("done", (), 300)
    wrong = tried(trial(LOCKLESS, case(patched()), "bochs", 150), "bochs")
    assert wrong.outcome == "done" and wrong.faults + wrong.wrong_tss > 0
    assert wrong.rounds < 300, "it ends at the first thing that is wrong"


@pytest.mark.parametrize("machine", ["qemu", "bochs"])
def test_a_hang_is_a_finding_with_the_registers_of_every_cpu(machine: str) -> None:
    nops = b"\x90" * len(_STORE_OF_THE_LOCK)
    never_released = case(changed(_STORE_OF_THE_LOCK, nops))
    one = _often_heard(trial(MODULE, never_released, machine, 100))
    # A busy host may need the first for the start alone, which takes Bochs longer.
    for limit in (0.5 if machine == "qemu" else 1, 3, 15, 60, 180):
        found = tried(one, machine, limit=limit)
        if found.outcome != "unfinished":
            break
    assert found.outcome == "hang" and found.findings
    assert [each.split(":")[0] for each in found.registers] == ["CPU 0", "CPU 1"]
    assert all("TR base" in each and "rip 0x" in each for each in found.registers)


def test_what_the_clock_ends_while_it_runs_is_no_hang() -> None:
    """A slow host is no reason to accuse a module; what it did wrong until then counts."""
    for module, verdict in ((patched(), "withheld"), (sample("kqemu-7.ko"), "failed")):
        one = _often_heard(trial(MODULE, case(module), "qemu", 10**8))
        for limit in (0.5, 2, 8, 30, 120):
            found = tried(one, "qemu", limit=limit)
            if found.rounds and found.outcome == "unfinished":
                break
        assert (found.outcome, found.registers) == ("unfinished", ())
        assert 0 < found.rounds < 10**8
        test = machinetest.MachineTest("qemu", "", "", 2, 1, (machinetest.Tried(one, found),))
        assert test.verdict == verdict


def _often_heard(one: Trial) -> Trial:
    """A trial that says so often how far it is that it is heard soon, on a host of any speed."""
    return replace(one, settings=replace(one.settings, beat=one.settings.beat >> 5))


BEAT = (
    "beat rounds 9\n"
    + "cpu number {} rounds {} ist 0 rsp0 0 loaded 0 faults 0 registers 0 controls 0 wrong 0x0 "
    "stack 0 monitor 0 ticks 0 least 0 vector 0 error 0x0 rip 0x0 cr2 0x0\n" * 2
)


@pytest.mark.parametrize(
    ("then", "now", "moved"),
    [
        ((3, 3), (4, 4), True),
        ((3, 3), (4, 3), False),
        ((9, 3), (9, 4), True),
        ((9, 4), (9, 4), False),
        ((3, 3), (3, 3), False),
    ],
)
def test_a_machine_moves_while_each_cpu_with_rounds_left_does(
    then: tuple[int, int], now: tuple[int, int], moved: bool
) -> None:
    before = BEAT.format(0, then[0], 1, then[1])
    text = before + BEAT.format(0, now[0], 1, now[1])
    first, last = (last_beat(each, 2) for each in (before, text))
    assert first is not None and last is not None
    assert last.moved_since(first) is moved
    assert last_beat(before + BEAT[:100], 2) == first, "one that is cut does not count"
    assert read_result(text, 1.0) is None


def test_a_source_fix_on_the_wrong_kernel_is_a_finding() -> None:
    """Source fix A on private GDTs: CPU 1's TSS goes to CPU 0's slot, and CPU 1 loads its own.

    Whether the machine resets itself, or hangs, is chance: with a limit neither takes long.
    """
    one = trial("the module on private GDTs", case(sample("kqemu-7-fix-a.ko")), "qemu", 100)
    assert any(tried(one, "qemu", limit=limit).findings for limit in (5, 30, 120))


def test_what_the_caller_runs_behind_the_switch_is_under_its_lock() -> None:
    """As kqemu_exec has it around source fixes A and B: never two CPUs at once."""
    made = read_module(
        assembled(
            "mov $1, %eax; xchg %eax, flag(%rip); test %eax, %eax; jnz 2f; mov $300, %ecx\n"
            "1: dec %ecx; jnz 1b; movl $0, flag(%rip); ret\n2: ud2\nflag: .long 0\n"
        )
    )
    code = made.contents(made.sections[1])
    one = trial(MODULE, case(patched()), "qemu", 300)
    module = one.subject.module
    text = module.section_named(".text")
    assert text is not None
    # Nothing of the C side runs here, so its code may be another one.
    at = next(
        each
        for each in range(0, text.size, 16)
        if not module.relocations_at(text.index, each, each + len(code))
    )
    start = module.file_offset(text, SectionOffset(at))
    data = module.data[:start] + code + module.data[start + len(code) :]
    own = read_module(data, "guarded.ko")
    subject = replace(one.subject, module=own, after=(text.index, SectionOffset(at)))
    found = tried(replace(one, subject=subject), "qemu")
    assert (found.outcome, found.rounds, found.faults) == ("done", 600, 0)


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("the saved rbx is clobbered", "callee-saved registers or rsp were lost"),
        ("the direction flag is left set", "flags did not come back"),
        ("the descriptor behind is written", "memory of the kernel or of the module was changed"),
        ("its caller's frame is written", "the caller's stack was written"),
        ("limit 0", "20 faults, the first of vector 10"),
    ],
)
def test_what_is_not_brought_back_is_a_finding(name: str, finding: str) -> None:
    (mutant,) = (each for each in MUTANTS if each.name == name)
    found = tried(trial(MODULE, mutant.case, "qemu", 20), "qemu")
    assert any(finding in each for each in found.findings), found.findings


@pytest.mark.usefixtures("whole_switch_once")
def test_few_rounds_withhold_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    # Bochs lets its CPUs take turns in the same way each time. On QEMU, with two CPUs that are
    # idle, a missing lock may show in the first round.
    done = run(*_PROVE_LITTLE, "--machine", "bochs", "--rounds", "1", "--json", path)
    schema.check(done.document, "verify", done.code)
    (machine,) = done.document["files"][0]["machines"]
    assert (done.code, machine["verdict"]) == (17, "withheld")
    assert 4 <= machine["enough"] <= 4000, "the control alone was run until it failed"
    kinds = [(each["kind"], each["holds"]) for each in machine["runs"]]
    assert kinds == [("control", True), ("control", False), *[("test", True)] * 3]


def test_a_machine_that_is_not_there_is_named_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    monkeypatch.setenv("PATH", str(tmp_path))
    for machine, package in (("qemu", "qemu-system-x86"), ("bochs", "bochs-term")):
        done = run(*_PROVE_LITTLE, "--machine", machine, path)
        assert done.code == 2 and package in done.complaint


def test_rounds_without_a_machine_are_a_mistake(tmp_path: Path) -> None:
    done = run(*_PROVE_LITTLE, "--rounds", "5", tmp_path)
    assert done.code == 2 and "--machine qemu" in done.complaint


@pytest.mark.parametrize(
    "text", ["", "cpu number 0\n", "cpu number 0\nend done\n", "end done\n", "end done", "end\n"]
)
def test_a_result_that_is_cut_is_no_result(text: str) -> None:
    found = read_result(text, 1.0)
    assert found is None or found.findings


def test_a_verdict_needs_its_controls() -> None:
    of = case(patched())
    made = machinetest.trials(of, machinetest.settings_for("qemu", of, rounds=10))
    assert [each.must_fail for each in made] == [True, True, False, False, False]
    with pytest.raises(UsageError, match="2 to 16"):
        machinetest.settings_for("qemu", of, cpus=17)
    assert emulators.EMULATORS["qemu"].command(Path("/x"), 2)[2] == "tcg,thread=multi"


@pytest.mark.parametrize(("limit", "rounds"), [(60.0, 16), (0.2, 1)])
def test_a_control_that_finds_nothing_is_run_for_more_rounds(
    limit: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it fails, or more would take too long; the module then runs for as many."""
    asked: list[tuple[str, int, int]] = []

    def pretended(one: job.MachineSettings, name: str) -> MachineRun:
        asked.append((name, one.rounds, one.seed))
        lost = name == "the unpatched module" or (name == LOCKLESS and one.rounds >= 16)
        return MachineRun("done", (CpuReport(0, 1, lost, *[0] * 14),), seconds=0.1 * one.rounds)

    of = case(patched())
    monkeypatch.setattr(
        machinetest,
        "_tried",
        lambda _, trial, __: machinetest.Tried(trial, pretended(trial.settings, trial.name)),
    )
    usual = machinetest.settings_for("qemu", of, rounds=1)
    found = machinetest.test_on("qemu", of, usual, raise_rounds=True, limit=limit)
    assert found.rounds == rounds
    assert found.verdict == ("passed" if rounds == 16 else "withheld")
    assert [each.trial.name for each in found.tried][:3] == [
        "the unpatched module",
        LOCKLESS,
        MODULE,
    ]
    assert (MODULE, rounds, 5 if rounds == 16 else 1) in asked


def test_a_source_fix_that_cannot_be_run_leaves_nothing_to_test() -> None:
    of = case(sample("kqemu-7-fix-a.ko"))
    unknown = replace(of, fix=replace(of.fix, judged=False))
    usual = machinetest.settings_for("qemu", of)
    assert len(machinetest.trials(unknown, usual)) == 2, "its function is known"
    nothing = replace(of, fix=replace(of.fix, judged=False, function=None))
    assert machinetest.trials(nothing, usual) == ()
    assert machinetest.MachineTest("qemu", "QEMU", "7", 2, 1, ()).verdict == "withheld"


def test_a_switch_whose_continuation_is_a_field_is_refused_by_the_bare_machines() -> None:
    """Their kernel fills no such field: a run would jump to nowhere, and accuse the module."""
    of = case(sample("kqemu-7-jump.ko"))
    with pytest.raises(UnknownModuleError, match="switch"):
        machinetest.trials(of, machinetest.settings_for("qemu", of))
    other = case(sample("kqemu-7-pushes.ko"))
    assert machinetest.trials(other, machinetest.settings_for("qemu", other))
