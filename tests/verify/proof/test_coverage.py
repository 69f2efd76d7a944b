"""Options narrow and widen a proof; its text names exactly what was proven."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from kpatch.verify.machine.scenarios import SCENARIOS
from kpatch.verify.proof.obligations import default_suite
from tests.cli.harness import environment, kpatch, sample
from tests.cli.terminal import AT_ONCE, ESCAPE, WIPED, read_out
from tests.verify.proof.calls import UP, document, patched, verify

_COVERED = re.compile(r"  (sc|tso), ([\d, ]+) CPUs?: (.*)")


def covered(text: str) -> set[tuple[str, int, str]]:
    """Every exploration that a text says is proven: model, CPUs, and the scenario."""
    return {
        (model, int(count), scenario)
        for model, counts, scenarios in _COVERED.findall(text)
        for count in counts.split(",")
        for scenario in scenarios.split(", ")
    }


ONE = ("--model", "sc", "--cpus", "1")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (UP, {(model, 1, name) for model in ("sc", "tso") for name in ("up", "up (TR 0x48)")}),
        ((*ONE, "--scenario", "up"), {("sc", 1, "up"), ("sc", 1, "up (TR 0x48)")}),
        ((*ONE, "--scenario", "up", "--tr-selector", "0x30"), {("sc", 1, "up")}),
        ((*ONE, "--scenario", "up", "--tr-selector", "0x48"), {("sc", 1, "up (TR 0x48)")}),
        (
            ("--cpus", "1,2,3", "--model", "tso", "--scenario", "leave", "--tr-selector", "0x30"),
            {("tso", 1, "leave"), ("tso", 2, "leave"), ("tso", 3, "leave")},
        ),
        (
            ("--cpus", "2,2", "--model", "sc", "--scenario", "up", "--scenario", "leave"),
            {
                *(("sc", 1, name) for name in ("up", "up (TR 0x48)")),
                *(("sc", 2, name) for name in ("leave", "leave (TR 0x48)")),
            },
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "covers",
)
def test_the_text_names_what_was_proven_and_nothing_else(
    options: tuple[str, ...], expected: set[tuple[str, int, str]], tmp_path: Path
) -> None:
    done = verify(*options, patched(tmp_path))
    assert done.code == 0
    assert covered(done.out) == expected
    many = len(expected)
    ending = "" if many == 1 else "s"
    assert f"  {many} of {many} exploration{ending} proven over every interleaving: " in done.out
    assert "not modelled: NMIs and machine checks in the window, DMA" in done.out


def test_without_options_everything_is_proven_that_the_help_says(tmp_path: Path) -> None:
    done = kpatch("verify", patched(tmp_path))
    assert (done.code, done.err) == (0, ""), "no progress goes into a pipe"
    found = covered(done.out)
    assert found == {
        (
            each.model.value,
            each.cpus,
            each.scenario.name + (" (TR 0x48)" if each.tr_selector == 0x48 else ""),
        )
        for each in default_suite(with_maxcpu=True)
    }
    assert {(model, count) for model, count, _ in found} == {
        (model, count) for model in ("sc", "tso") for count in (1, 2, 4, 16)
    }


def test_a_proof_by_single_instructions_says_so(tmp_path: Path) -> None:
    done = verify(*ONE, "--scenario", "up", "--every-instruction", patched(tmp_path))
    assert "over every interleaving, instruction by instruction: " in done.out


def test_a_number_of_cpus_that_a_scenario_cannot_have_is_said(tmp_path: Path) -> None:
    done = verify("--cpus", "4", "--model", "sc", "--scenario", "up", patched(tmp_path))
    assert "kpatch: up: a kernel for one CPU, so it is run with 1, not with --cpus 4" in done.err
    assert (
        "kernel for one CPU"
        not in verify("--cpus", "1,2", "--scenario", "up", tmp_path / "none.ko").err
    )


def test_a_scenario_about_the_guard_says_nothing_about_an_unpatched_module() -> None:
    done = verify("--scenario", "unknown-layout", sample("kqemu-7.ko"))
    assert done.code == 1
    assert (
        "none of the scenarios that were asked for applies" in done.out
        and "proven over" not in done.out
    )


@pytest.mark.parametrize("reduction", ["--no-por", "--no-symmetry"])
def test_a_reduction_that_is_off_changes_the_figures_and_not_the_verdict(
    reduction: str, tmp_path: Path
) -> None:
    path = patched(tmp_path)
    options = ("--cpus", "2", "--model", "sc", "--scenario", "leave", "--tr-selector", "0x30")
    on, off = document(*options, path), document(*options, reduction, path)
    assert on["verdict"] == off["verdict"] == "proven"
    assert on["explored"][-1]["states"] < off["explored"][-1]["states"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--cpus", "17", "1 to 16"),
        ("--cpus", "0", "1 to 16"),
        ("--cpus", "-1", "not a list of numbers"),
        ("--cpus", "x", "not a list of numbers"),
        ("--cpus", "2,", "not a list of numbers"),
        ("--cpus", "", "not a list of numbers"),
        ("--cpus", "2;4", "not a list of numbers"),
        ("--cpus", "9" * 9, "1 to 16"),
        ("--cpus", "9" * 5000, "not a list of numbers"),
        ("--scenario", "leaving", "choose among: leave, two-rounds, "),
        ("--scenario", "", "choose among"),
        ("--model", "pso", "'sc', 'tso', 'both'"),
        ("--tr-selector", "0x31", "'0x30', '0x48'"),
        ("--jobs", "0", "--jobs"),
    ],
)
def test_what_cannot_be_proven_is_wrong_usage(option: str, value: str, said: str) -> None:
    done = verify(option, value, sample("kqemu-7.ko"))
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint


def test_the_help_names_no_scenario_that_is_none() -> None:
    for each in SCENARIOS:
        assert verify("--scenario", each.name, "--cpus", "x", "-").code == 2


def on_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard error of a call with a terminal there, and progress from the first
    moment on.
    """
    process_id, outer = os.forkpty()
    if process_id == 0:
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        line = [sys.executable, "-c", AT_ONCE, *map(str, arguments)]
        os.execve(line[0], line, environment() | {"TERM": "xterm"})
    seen = read_out(outer)
    os.close(outer)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), seen.decode()


def test_progress_is_shown_where_it_is_wanted_and_wiped() -> None:
    """The states that it counts: test_bounds.py."""
    # Of a module without a patch nothing is proven but what is explored: it takes half a second.
    call = ("verify", *ONE, "--scenario", "up", sample("kqemu-7.ko"))
    code, seen = on_a_terminal(*call)
    assert code == 0 and re.search(r"proving .*\d+/\d+", ESCAPE.sub("", seen))
    assert seen.rstrip("\r\n").endswith(WIPED) and "Traceback" not in seen
    for option in ("-q", "--json"):
        assert on_a_terminal(*call, option) == (0, "")
