"""``kpatch verify``: its exit codes, its documents, and the traces that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.plan import make_plan
from kpatch.signature.load import load_signatures
from kpatch.signature.scan import find
from kpatch.verify.machine.scenarios import SCENARIOS
from kpatch.verify.proof import workers
from tests.cli import schema
from tests.cli.harness import Done, copied, patched_bytes, run, sample
from tests.verify.proof.calls import whole_switch_of

_SMALL = ("verify", "--cpus", "2", "--model", "sc", "--scenario", SCENARIOS[0].name, "--jobs", "1")
_UNPATCHED = sample("kqemu-7.ko")


@pytest.fixture(autouse=True)
def whole_switch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the whole switch, which depend on the patch alone, are made once for each."""
    monkeypatch.setattr(workers, "whole_switch", whole_switch_of)


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    """A patched module."""
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    return path


def _files(done: Done) -> list[dict[str, Any]]:
    schema.check(done.document, "verify", done.code)
    found: list[dict[str, Any]] = done.document["files"]
    return found


def test_a_patched_module_is_proven(patched: Path) -> None:
    done = run(*_SMALL, patched)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{patched}: PROVEN\n")
    assert "not modelled: NMIs" in done.out, "what the word does not cover"


def test_only_what_can_be_repaired_is_followed_by_the_repair(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path, "kqemu.ko")
    assert run(*_SMALL, path).out.endswith(f"\n  next: kpatch apply {path}\n")
    kept = path.rename(tmp_path / "kqemu.ko.orig")
    done = run(*_SMALL, kept)
    assert ": VIOLATED\n" in done.out and "next:" not in done.out


@pytest.mark.parametrize(
    ("name", "cpuid", "wanted"), [("kqemu-6.ko", 0x34, 0x3C), ("kqemu-7.ko", 0x3C, 0x34)]
)
def test_a_patch_for_other_kernels_than_the_module_is_not_proven(
    tmp_path: Path, name: str, cpuid: int, wanted: int
) -> None:
    module = read_module(sample(name).read_bytes(), name)
    (signature,) = load_signatures()
    plan = make_plan(module, find(module, signature), cpuid=cpuid, tss_stride=104)
    path = tmp_path / name
    path.write_bytes(apply_plan(plan))
    done = run(*_SMALL, path)
    assert done.code == 17
    assert f"cpuid from {cpuid:#x}" in done.err and f"at {wanted:#x}" in done.err


def test_an_unpatched_module_is_refuted_with_a_trace(patched: Path) -> None:
    done = run(*_SMALL, _UNPATCHED)
    assert done.code == 17
    assert done.out.startswith(f"{_UNPATCHED}: VIOLATED\n")
    assert "own-tss" in done.out and "replay: " in done.out and "CPU 1" in done.out
    assert run(*_SMALL, patched, _UNPATCHED).code == 17


def test_an_unpatched_module_that_is_proven_for_one_cpu_is_called_unpatched(patched: Path) -> None:
    alone = ("verify", "--cpus", "1", "--scenario", "moving", "--model", "sc", "--jobs", "1")
    done = run(*alone, _UNPATCHED)
    assert done.code == 0 and done.out.startswith(f"{_UNPATCHED}: PROVEN\n")
    said = "  it is not patched: this is proven of the switch as it was built\n"
    assert done.out.endswith(f"{said}  next: kpatch apply {_UNPATCHED}\n")
    assert said not in run(*alone, patched).out


def test_a_bound_ends_in_not_proven(patched: Path) -> None:
    moving = ("verify", "--cpus", "2", "--model", "sc", "--scenario", "moving", "--jobs", "1")
    done = run(*moving, "--max-states", "45", patched)
    assert done.code == 1
    assert done.out.startswith(f"{patched}: NOT-PROVEN\n")
    assert "max-states 45 reached after 45 states" in done.out


def test_a_control_that_a_bound_ends_says_so(patched: Path) -> None:
    done = run(*_SMALL, "--max-states", "10", patched)
    assert done.code == 1
    assert done.out.startswith(f"{patched}: NOT-PROVEN\n")
    assert "not refuted: max-states 10 reached after 10 states" in done.out


def test_the_document_and_the_trace_are_the_same(patched: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    done = run(*_SMALL, "--json", "--trace", trace, patched, _UNPATCHED)
    found = _files(done)
    assert [each["verdict"] for each in found] == ["proven", "violated"]
    assert [each["file"] for each in found] == [str(patched), str(_UNPATCHED)]
    assert json.loads(trace.read_text()) == found
    assert done.err == f"the document is in {trace}\n"


def test_a_schedule_replays_with_its_lanes() -> None:
    document = _files(run(*_SMALL, "--json", _UNPATCHED))[0]
    schedule = next(
        found["schedule"] for each in document["explored"] for found in each["counterexamples"]
    )
    done = run(*_SMALL, "--replay", schedule, _UNPATCHED)
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["CPU", "0", "CPU", "1", "descriptor", "TR"]
    (replayed,) = _files(run(*_SMALL, "--json", "--replay", schedule, _UNPATCHED))
    assert replayed["lanes"]["cpus"] == 2


@pytest.mark.parametrize("schedule", ["nonsense", "9", "0" * 5000])
def test_a_schedule_that_cannot_be_is_wrong_usage(schedule: str) -> None:
    done = run(*_SMALL, "--replay", schedule, _UNPATCHED)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.startswith("kpatch: ")
