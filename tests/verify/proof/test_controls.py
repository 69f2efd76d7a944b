"""A verdict counts only with its controls, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine import scenarios
from kpatch.verify.machine.setup import Setup
from kpatch.verify.proof import controls, obligations
from kpatch.verify.proof import tasks as proof
from kpatch.verify.proof.obligations import suite
from tests.cli.harness import MANIFEST, copied, look, names, run, sample
from tests.verify.mutants.changes import Lines, before
from tests.verify.mutants.locks import EXCHANGE
from tests.verify.mutants.variant import Variant
from tests.verify.proof.calls import LEAVE, UP, document, patched, verify

UNPATCHED, LOCKLESS = "the unpatched module", "the patch without its lock"
AFFECTED = [
    each["file"]
    for each in MANIFEST
    if each["verdict"] == "affected" and each["file"].endswith(".ko")
]


def blind(monkeypatch: pytest.MonkeyPatch, *properties: str) -> None:
    """Make a verifier that does not ask for these properties."""
    made = proof.Case.setup

    def setup(*arguments: Any) -> Setup:
        found = made(*arguments)
        promised = found.scenario.promised - set(properties)
        return replace(found, scenario=replace(found.scenario, promised=promised))

    monkeypatch.setattr(proof.Case, "setup", setup)


def loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the control without the lock one that does not fail: the patch."""
    made = controls.controls

    def with_locks(*arguments: Any) -> tuple[controls.Control, ...]:
        return tuple(replace(each, locks=True) for each in made(*arguments))

    monkeypatch.setattr(proof, "controls", with_locks)


@pytest.mark.parametrize("name", AFFECTED)
def test_both_controls_are_refuted_under_both_memory_models(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert run("apply", "--no-verify", "-o", path, sample(name)).code in (0, 15)
    if not path.exists():
        run("apply", "--no-verify", "--osversion", "700055", "-o", path, sample(name))
    found = document(*UP, path)
    assert found["verdict"] == "proven"
    controls_of_it = [each for each in found["explored"] if each["kind"] == "control"]
    assert {(each["name"], each["model"], each["holds"]) for each in controls_of_it} == {
        (control, model, True) for control in (UNPATCHED, LOCKLESS) for model in ("sc", "tso")
    }
    assert not any(each["bound"] for each in controls_of_it)


def test_a_control_that_does_not_fail_withholds_the_verdict_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose(monkeypatch)
    path = patched(tmp_path)
    done = verify(*LEAVE, path)
    assert done.code == 17
    lines = done.out.splitlines()
    assert lines[0] == f"{path}: WITHHELD"
    assert f"  control: {UNPATCHED} (sc): refuted, found own-tss, no-fault" in lines
    assert f"  control: {LOCKLESS} (sc): NOT REFUTED, found nothing" in lines


def test_a_verifier_that_is_blind_withholds_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch, "own-tss", "no-fault")
    found = document(*LEAVE, patched(tmp_path))
    assert found["verdict"] == "withheld"
    assert [each["holds"] for each in found["explored"]] == [False, False, True, True]


def test_a_control_that_fails_for_another_reason_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch, "own-tss")
    done = verify(*LEAVE, patched(tmp_path))
    assert done.code == 17
    assert f"control: {UNPATCHED} (sc): NOT REFUTED, found no-fault" in done.out
    assert f"control: {LOCKLESS} (sc): refuted, found no-fault" in done.out


def test_a_patch_that_has_no_lock_is_refuted(tmp_path: Path) -> None:
    lockless = Variant("no lock", (Lines(EXCHANGE, "xor r9d, r9d"),))
    path = tmp_path / "kqemu.ko"
    path.write_bytes(lockless.case.module.data)
    found = document(*LEAVE, path)
    assert found["verdict"] == "violated"
    assert all(each["holds"] for each in found["explored"] if each["kind"] == "control")


def test_a_patch_that_is_wrong_with_its_lock_is_accused_whatever_it_does_without(
    tmp_path: Path,
) -> None:
    counts = Variant("counts", (before("ltr ax", "add dword [rcx + 12], 1"),))
    path = tmp_path / "kqemu.ko"
    path.write_bytes(counts.case.module.data)
    found = document(*LEAVE, path)
    assert found["verdict"] == "violated"
    controls_of_it = {each["name"]: each for each in found["explored"] if each["kind"] == "control"}
    assert controls_of_it[UNPATCHED]["holds"]
    assert not controls_of_it[LOCKLESS]["holds"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_apply_writes_nothing_where_the_verdict_is_withheld(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose(monkeypatch)
    few = suite([scenarios.UP], [1], (MemoryModel.SC,))
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    path = copied("kqemu-7.ko", tmp_path)
    before = look(path)
    done = run("apply", *options, path)
    assert done.code == 17
    assert (look(path), names(tmp_path)) == (before, [path.name])
    said = done.document["files"][0]["error"]["what"] if options else done.complaint
    assert f"withheld: a control was not refuted: {LOCKLESS} (sc)" in said


def test_apply_says_what_it_found_where_the_unpatched_module_fails_for_another_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = suite([scenarios.UP], [1], (MemoryModel.SC,))
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    behind_the_exit = (
        sample("kqemu-7.ko")
        .read_bytes()
        .replace(bytes.fromhex("488b87b00000000f22c0"), bytes.fromhex("fb909090909090909090"), 1)
    )  # mov rax, [rdi + cr0]; mov cr0, rax -> sti
    path = tmp_path / "kqemu.ko"
    path.write_bytes(behind_the_exit)
    done = run("apply", path)
    assert done.code == 17
    assert "; found instead: no-fault: beyond what the emulation models: interr" in done.complaint
