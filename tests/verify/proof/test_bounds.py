"""A run that did not see everything says so, and what it saw."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.proving import case_of
from kpatch.repair import scan
from kpatch.report.documents import title_of
from kpatch.report.proof_documents import proof_document
from kpatch.report.proof_text import proof_text
from kpatch.report.style import Style
from kpatch.units import counted
from kpatch.verify.explore import MemoryModel
from kpatch.verify.explore.result import Answer
from kpatch.verify.machine import scenarios
from kpatch.verify.proof.obligations import Obligation, suite
from kpatch.verify.proof.tasks import Bounds
from kpatch.verify.proof.workers import run_proof
from tests.cli.harness import Done, command_line, environment, sample
from tests.cli.terminal import ESCAPE, WIPED, read_out
from tests.processes import awaited, living
from tests.verify.mutants.variant import RIGHT
from tests.verify.proof.calls import LEAVE, LONG, UP, document, patched, verify

_LATEST = 300


@pytest.mark.parametrize("states", [1, 2, 3, 10, 14])
def test_no_bound_on_states_makes_a_proof(states: int, tmp_path: Path) -> None:
    done = verify(*LEAVE, "--max-states", str(states), patched(tmp_path))
    assert done.code == 1
    assert "NOT-PROVEN" in done.out.splitlines()[0]
    assert f"max-states {states} reached after {counted(states, 'state')}" in done.out


@pytest.mark.parametrize("seconds", ["1e-9", "0.000001"])
def test_no_bound_on_time_makes_a_proof(seconds: str, tmp_path: Path) -> None:
    done = verify(*LEAVE, "--max-seconds", seconds, patched(tmp_path))
    assert done.code == 1
    assert "NOT-PROVEN" in done.out.splitlines()[0]
    assert f"max-seconds {float(seconds)} reached" in done.out


def test_many_explorations_that_a_bound_ended_are_one_line(tmp_path: Path) -> None:
    options = ("--cpus", "2", "--model", "sc", "--max-states", "1", patched(tmp_path))
    lines = verify(*options).out.splitlines()
    (line,) = [line for line in lines if "not proven: " in line]
    assert line == "  22 explorations: not proven: max-states 1 reached (-v lists them)"
    assert verify("-v", *options).out.count(": not proven: max-states 1 reached after 1 ") == 22


def test_a_violation_within_the_bound_is_a_violation() -> None:
    found = document(*LEAVE, "--max-states", "12", sample("kqemu-7.ko"))
    assert found["verdict"] == "violated"
    assert {each["bound"] for each in found["explored"]} == {"max-states 12"}


def test_only_what_was_proven_is_listed(tmp_path: Path) -> None:
    names = ("--scenario", "up", "--scenario", "moving")
    done = verify("--cpus", "2", "--model", "sc", *names, "--max-states", "45", patched(tmp_path))
    assert done.code == 1
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[1].startswith("2 of 4 explorations proven over every interleaving: ")
    assert lines[2] == "sc, 1 CPU: up, up (TR 0x48)"
    assert not any("moving" in line for line in lines if line.startswith(("sc,", "tso,")))
    assert "moving, 2 CPUs, sc: not proven: max-states 45 reached" in done.out


@pytest.mark.parametrize("bound", ["nan", "0", "-1", "x"])
def test_a_bound_that_is_none_is_wrong_usage(bound: str, tmp_path: Path) -> None:
    for option in ("--max-seconds", "--max-states"):
        done = verify(*UP, option, bound, patched(tmp_path))
        assert (done.code, done.out) == (2, ""), option
        assert option in done.complaint


def interrupted(path: Path, *options: str, group: bool) -> Done:
    """``verify``, interrupted in the long exploration: no control has a thousand states."""
    outer, inner = os.openpty()  # it shows its progress to a terminal only
    with subprocess.Popen(
        command_line("verify", *options, path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=inner,
        env=environment() | {"TERM": "xterm"},
        start_new_session=True,
    ) as process:
        os.close(inner)
        seen = read_out(outer, re.compile(rb"proving [^\r]* \d{4,} states"))
        if group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        seen += read_out(outer)
        out, _ = process.communicate(timeout=_LATEST)
        assert awaited(lambda: not living(process.pid))
        os.close(outer)
    return Done(process.returncode, out.decode(), seen.decode())


@pytest.mark.parametrize(
    ("jobs", "group"),
    [("1", True), ("2", True), ("2", False)],
    ids=["one process", "all processes", "the first alone"],
)
def test_an_interrupt_says_what_was_covered_and_leaves_no_process(
    jobs: str, group: bool, tmp_path: Path
) -> None:
    """And it ends the whole command: the second file is not begun."""
    path = patched(tmp_path)
    done = interrupted(path, *LONG, "--jobs", jobs, str(path), group=group)
    assert done.code == 1
    assert done.out.startswith(f"{path}: NOT-PROVEN\n")
    assert done.out.count("NOT-PROVEN") == 1
    assert re.search(r"leave, 10 CPUs, tso.*: not proven: interrupted after \d+ states", done.out)
    assert "Traceback" not in done.out + done.err
    assert re.search(r"\d+/\d+ +\d{4,} states", ESCAPE.sub("", done.err))
    assert WIPED in done.err.rpartition("proving")[2]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_few_cpus_violate_is_not_explored_to_the_end_with_many(jobs: int) -> None:
    case = case_of(scan(sample("kqemu-7.ko").read_bytes()))
    bounds = Bounds(beyond_violation=48)

    def ends(*cpus: int) -> dict[int, tuple[Answer, str]]:
        asked = [Obligation(scenarios.LEAVE, count, MemoryModel.SC) for count in cpus]
        proof = run_proof(case, asked, bounds, jobs=jobs, report=lambda standing: None)
        assert proof.verdict == "violated"
        results = {each.task.obligation.cpus: each.result for each in proof.explored}
        return {count: (result.verdict, str(result.bound)) for count, result in results.items()}

    alone, beside = ends(16)[16], ends(2, 16)[16]
    assert alone == (Answer.VIOLATED, "0 states beyond the first violation")
    assert beside == (Answer.NOT_PROVEN, "3 states, where the verdict is known")


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_too_much_is_tried_briefly_on_its_host_and_with_many_cpus(jobs: int) -> None:
    asked = [
        Obligation(scenario, count, MemoryModel.SC)
        for scenario, count in (
            (scenarios.LEAVE, 2),
            (scenarios.scenario_named("two-rounds"), 2),
            (scenarios.LEAVE, 16),
        )
    ]
    bounds = Bounds(max_states=10, beyond_violation=16)
    proof = run_proof(RIGHT.case, asked, bounds, jobs=jobs, report=lambda standing: None)
    ends = [str(each.result.bound) for each in proof.explored if each.task.kind == "obligation"]
    assert ends == [
        "max-states 10",
        "8 states, where the verdict is known",
        "1 state, where the verdict is known",
    ]
    assert proof.verdict == "not-proven"


@pytest.mark.parametrize("index", [0, -1], ids=["a control", "an obligation"])
def test_a_proof_with_a_part_missing_is_none(index: int) -> None:
    few = suite([scenarios.UP], [1], (MemoryModel.SC,))
    whole = run_proof(RIGHT.case, few, Bounds(), jobs=1, report=lambda standing: None)
    assert (whole.verdict, whole.is_interrupted) == ("proven", False)
    lost = whole.explored[index]
    rest = tuple(each for each in whole.explored if each is not lost)
    cut = replace(whole, explored=rest, missing=(lost.task,))
    assert (cut.verdict, cut.is_interrupted) == ("not-proven", True)
    found = proof_document(cut)
    assert found["obligations"] == proof_document(whole)["obligations"] == len(few)
    text = proof_text("kqemu.ko", found, Style(), verbose=False)
    assert f"  not run: {title_of(lost.task.kind, lost.task.name, 'sc')}\n" in text
