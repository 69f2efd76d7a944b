"""Options narrow and widen a proof; its text names exactly what was proven."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kpatch.verify.machine.scenarios import SCENARIOS
from kpatch.verify.proof.obligations import default_suite
from tests.cli.harness import command_line, environment, kpatch, sample
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
SEEN = ("--model", "sc", "--cpus", "2,4")
"""Work that takes longer than the half second in which nothing is shown."""


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
    assert f"  {many} of {many} explorations proven over every interleaving: " in done.out
    assert "not modelled: NMIs and machine checks in the window, DMA" in done.out


def test_without_options_everything_is_proven_that_the_help_says(tmp_path: Path) -> None:
    done = kpatch("verify", patched(tmp_path))
    assert (done.code, done.err) == (0, ""), "no progress goes into a pipe"
    found = covered(done.out)
    assert found == {
        (
            each.model.value,
            each.cpus,
            each.scenario + (" (TR 0x48)" if each.tr_selector == 0x48 else ""),
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
    """Exit code and standard error of a call with a terminal there."""
    process_id, outer = os.forkpty()
    if process_id == 0:
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        line = [os.fspath(each) for each in command_line(*arguments)]
        os.execve(line[0], line, environment() | {"TERM": "xterm"})
    seen = b""
    while chunk := _read(outer):
        seen += chunk
    os.close(outer)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), seen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that nobody is at the other end any more
        return b""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_progress_is_shown_on_a_terminal_and_wiped(jobs: str, tmp_path: Path) -> None:
    code, seen = on_a_terminal("verify", *SEEN, "--jobs", jobs, patched(tmp_path))
    assert code == 0
    lines = [each for each in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", seen) if each.strip()]
    assert "proving" in "".join(lines) and re.search(r"\d+/\d+ +\d+ states", "".join(lines))
    assert seen.rstrip("\r\n").endswith("\x1b[2K")
    assert "Traceback" not in seen


@pytest.mark.parametrize("option", ["-q", "--json"])
def test_no_progress_is_shown_where_it_is_not_wanted(option: str, tmp_path: Path) -> None:
    assert on_a_terminal("verify", *SEEN, option, patched(tmp_path)) == (0, "")
