"""``verify`` on modules that carry a source fix: what it finds, and what it says it left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kpatch.cli.main import run

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
SMALL = ("--cpus", "2", "--model", "sc", "--jobs", "1", "--json")


def verified(name: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any]:
    code = run(["verify", *SMALL, *options, str(SAMPLES / name)])
    return code, json.loads(capsys.readouterr().out)["files"][0]


def found(document: Any, scenario: str) -> set[str]:
    """The properties that one scenario's counterexamples break."""
    return {
        each["prop"]
        for explored in document["explored"]
        if explored["scenario"] == scenario
        for each in explored["counterexamples"]
    }


@pytest.mark.parametrize("letter", ["a", "b"])
def test_the_race_that_fixes_a_and_b_leave_is_found_with_the_fix_running(
    letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = verified(f"kqemu-7-fix-{letter}.ko", capsys, "--scenario", "leave")
    assert (code, document["verdict"]) == (17, "violated")
    assert "no-fault" in found(document, "leave")
    assert "own-tss" not in found(document, "leave")
    assert "is run behind the switch" in document["caveat"]


def test_on_private_tables_fix_a_writes_the_slot_of_another_cpu(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, document = verified("kqemu-7-fix-a.ko", capsys, "--scenario", "private-gdt")
    assert found(document, "private-gdt") == {"footprint"}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"ssdtosyssd\0", b"ssdtosyssx\0", "ssdtosyssx"),
        (b"kqemu_tss_workaround\0", b"kqemu_tss_whatever__\0", "no symbol"),
    ],
)
def test_a_fix_that_cannot_be_run_is_not_judged(
    old: bytes, new: bytes, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes((SAMPLES / "kqemu-7-fix-a.ko").read_bytes().replace(old, new))
    code, document = verified(str(path), capsys)
    assert (code, document["verdict"], document["explored"]) == (1, "not-judged", [])
    assert why in document["caveat"]
    assert run(["verify", *SMALL[:-1], str(path)]) == 1
    assert "NOT-JUDGED" in capsys.readouterr().out


def test_fix_c_is_taken_as_done_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = verified("kqemu-7-fix-c.ko", capsys)
    assert (code, document["verdict"]) == (0, "proven")
    assert {each["scenario"] for each in document["explored"]} == {
        "private-gdt",
        "private-moving",
        "up",
    }
    assert "taken as done" in document["caveat"]


def test_an_unpatched_module_is_wrong_without_any_preemption(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, document = verified("kqemu-7.ko", capsys, "--scenario", "leave")
    assert code == 17
    first = document["explored"][0]["counterexamples"][0]
    assert (first["prop"], first["preemptions"], first["fewest"]) == ("own-tss", 0, True)
    assert document["caveat"] == ""
