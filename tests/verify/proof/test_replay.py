"""What is printed of a counterexample shows it again; any other schedule is refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import run, sample
from tests.verify.mutants.table import MUTANTS
from tests.verify.proof.calls import LEAVE, UP, document, patched, verify

UNPATCHED = sample("kqemu-7.ko")
_TOO_MANY = "9" * 9


def written(mutant: str, folder: Path) -> Path:
    """A broken patch as a file."""
    path = folder / "kqemu.ko"
    found = next(each for each in MUTANTS if each.name == mutant)
    path.write_bytes(found.case.module.data)
    return path


def lines_of_replays(text: str) -> list[list[str]]:
    """The words of each command behind a ``replay:`` of a text, without the program's name."""
    return [shlex.split(words) for words in re.findall(r"replay: kpatch (.*)", text)]


def violations(lanes: dict[str, Any]) -> set[str]:
    """What a replay found, without the details."""
    return {said.partition(":")[0] for step in lanes["steps"] for said in step["violations"]}


@pytest.mark.parametrize("model", ["sc", "tso"])
def test_every_counterexample_replays_to_the_same_violation(model: str) -> None:
    options = ("--cpus", "2", "--model", model, "--scenario", "leave")
    for explored in document(*options, UNPATCHED)["explored"]:
        selector = ("--tr-selector", f"{explored['tr_selector']:#x}")
        for found in explored["counterexamples"]:
            again = document(*options, *selector, "--replay", found["schedule"], UNPATCHED)
            assert again["lanes"] == found["lanes"]
            assert violations(again["lanes"]) == {found["prop"]}
            assert again["obligation"] == explored["name"]


@pytest.mark.parametrize(
    ("mutant", "options", "count"),
    [
        ("no lock", LEAVE, 2),
        ("no ltr", ("--scenario", "up", "--model", "sc", "--every-instruction"), 1),
    ],
    ids=str,
)
def test_the_command_that_is_printed_shows_the_violation_again(
    mutant: str,
    options: tuple[str, ...],
    count: int,
    tmp_path: Path,
) -> None:
    path = written(mutant, tmp_path)
    text = verify(*options, path).out
    printed = lines_of_replays(text)
    assert len(printed) == count
    said = set()
    for command in printed:
        done = run(*command)
        assert done.code == 0
        assert done.out.count("^ ") == 1
        said |= {line.strip() for line in done.out.splitlines() if "^ " in line}
    assert said == {line.strip() for line in text.splitlines() if "^ " in line}


def test_a_fault_of_hosts_with_another_selector_replays_on_such_a_host(tmp_path: Path) -> None:
    path = written("the selector is 0x30 whatever the kernel", tmp_path)
    done = verify(*LEAVE, path)
    (command, *_) = lines_of_replays(done.out)
    assert command[command.index("--tr-selector") + 1] == "0x48"
    assert "^ " in run(*command).out
    without = [word for word in command if word not in ("--tr-selector", "0x48")]
    assert "^ " not in run(*without).out


@pytest.mark.parametrize(
    "schedule",
    ["0d", "1d", "2", "0t0", "0*2 0d 0 0", "0 0d", "0*2 1d", "9999", "0*2 0d*2"],
)
def test_a_schedule_that_cannot_happen_is_refused_with_the_move(schedule: str) -> None:
    done = verify(*LEAVE, "--replay", schedule, UNPATCHED)
    assert (done.code, done.out) == (2, "")
    assert re.search(r"schedule, move \d+: the move \w+ cannot be made: ", done.complaint)


@pytest.mark.parametrize(
    "schedule",
    ["", " ", "0*0", "x", "-1", "0*-1", "0,1", "\u0661", "0" * 9, f"0*{_TOO_MANY}", "0" + "\0"],
)
def test_nonsense_is_no_schedule(schedule: str) -> None:
    done = verify(*LEAVE, "--replay", schedule, UNPATCHED)
    assert (done.code, done.out) == (2, "")


def test_a_schedule_belongs_to_one_exploration() -> None:
    for options in ((), UP, ("--cpus", "2", "--scenario", "leave"), ("--cpus", "2")):
        done = verify(*options, "--replay", "0", UNPATCHED)
        assert (done.code, done.out) == (2, "")
        assert "add --scenario, --cpus and --model" in done.complaint


def test_the_trace_is_the_document_and_is_there_whole(tmp_path: Path) -> None:
    path, trace = patched(tmp_path), tmp_path / "trace.json"
    trace.write_text("what was there before")
    trace.chmod(0o640)
    found = verify(*LEAVE, "--json", "--trace", trace, path).document["files"]
    assert json.loads(trace.read_text()) == found
    assert trace.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, trace.name]


def test_a_replay_is_traced_too(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    done = verify(*LEAVE, "--json", "--trace", trace, "--replay", "0", UNPATCHED)
    assert json.loads(trace.read_text()) == done.document["files"]


@pytest.mark.parametrize("place", [".", "no/trace.json", "/dev/null"])
def test_a_place_where_no_trace_can_be_is_refused_before_the_work(
    place: str, tmp_path: Path
) -> None:
    done = verify("--trace", tmp_path / place, patched(tmp_path))
    assert (done.code, done.out) == (18, "")


@pytest.mark.parametrize("how", ["itself", "another name", "a link"])
def test_a_trace_never_replaces_a_module(how: str, tmp_path: Path) -> None:
    path = patched(tmp_path)
    trace = {
        "itself": path,
        "another name": tmp_path / "." / ".." / tmp_path.name / path.name,
        "a link": tmp_path / "link",
    }[how]
    (tmp_path / "link").symlink_to(path)
    before = path.read_bytes()
    done = run("verify", *LEAVE, "--trace", trace, UNPATCHED, path)
    assert (done.code, done.out) == (2, "")
    assert "--trace" in done.complaint
    assert path.read_bytes() == before
