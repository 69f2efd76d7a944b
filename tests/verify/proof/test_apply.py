"""``apply`` proves what it made, and writes nothing that it could not prove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kpatch import data
from kpatch.errors import VerificationError
from kpatch.signature import load
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine import scenarios
from kpatch.verify.proof import obligations
from kpatch.verify.proof import workers as crew
from kpatch.verify.proof.obligations import suite
from kpatch.verify.proof.tasks import Case, Task
from tests.cli.harness import Done, copied, look, names, run, sample
from tests.verify.machine.workshop import image_bytes, match_of, with_image
from tests.verify.mutants.changes import Draft, Lines, before, signature_text
from tests.verify.mutants.locks import RELEASE
from tests.verify.mutants.variant import RIGHT
from tests.verify.proof.calls import whole_switch_of

_FEW = suite([scenarios.LEAVE], [2], (MemoryModel.SC,))


def lines_of(*changes: Lines) -> str:
    """The shipped signature with other trampolines."""
    draft = Draft()
    for change in changes:
        draft = change(draft)
    return draft.text


BROKEN = {
    "own-tss": lines_of(before("ltr ax", RELEASE)),
    "progress": lines_of(Lines(RELEASE, "nop")),
    "restored": lines_of(before(RELEASE, "std")),
}
LINGERING = lines_of(before("ltr ax", "; ".join(["mov r9, r9"] * 200)))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove less than apply does, in this process, for speed."""
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: _FEW)
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture
def explored_alone(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong has to be found by exploring: the whole switch is taken for that of a right
    patch.
    """
    monkeypatch.setattr(crew, "whole_switch", lambda case: whole_switch_of(RIGHT.case))


def install(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``text`` the only signature."""
    place = folder / "signatures"
    place.mkdir()
    for path in Path(data.signatures_folder()).glob("*.toml"):
        (place / path.name).write_bytes(path.read_bytes())
        if path.read_text(encoding="utf-8") == signature_text():
            (place / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(load, "signatures_folder", lambda: place)


def breaks(prop: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``apply`` with this signature is refused, and leaves everything as it is."""
    install(text, folder, monkeypatch)
    (folder / "in").mkdir()
    path = copied("kqemu-7.ko", folder / "in")
    old = look(path)
    done = run("apply", path)
    assert (done.code, done.out) == (17, "")
    assert done.complaint.startswith(f"kpatch: {path}: ")
    assert prop in done.complaint and "nothing was written" in done.complaint
    assert (look(path), names(path.parent)) == (old, [path.name])


@pytest.mark.parametrize("prop", BROKEN)
@pytest.mark.usefixtures("explored_alone")
def test_a_broken_trampoline_is_refused_with_what_it_breaks(
    prop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(prop, BROKEN[prop], tmp_path, monkeypatch)


@pytest.mark.usefixtures("few")
def test_a_trampoline_that_lingers_is_refused_with_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks("window", LINGERING, tmp_path, monkeypatch)


BUILDS = ["kqemu-7-near.ko", "kqemu-7-jump.ko", "kqemu-7-nodr7.ko", "kqemu-7-pushes.ko"]
"""Other builds of the switch, as people might have them."""


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.usefixtures("few")
def test_other_builds_of_the_switch_are_repaired_and_proven(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``verify`` of what ``apply`` wrote: test_controls.py, of every sample that is affected."""
    both = suite([scenarios.LEAVE, scenarios.scenario_named("two-rounds")], [2], (MemoryModel.SC,))
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: both)
    path = copied(name, tmp_path)
    assert run("scan", path).code == 1
    assert run("apply", path).code == 0
    assert run("scan", path).code == 0


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.usefixtures("explored_alone")
def test_a_broken_trampoline_in_other_builds_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(BROKEN["own-tss"], tmp_path, monkeypatch)
    path = copied(name, tmp_path)
    done = run("apply", path)
    assert done.code == 17
    assert "own-tss" in done.complaint


@pytest.mark.usefixtures("explored_alone")
def test_no_output_is_written_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(BROKEN["own-tss"], tmp_path, monkeypatch)
    output = tmp_path / "new.ko"
    assert run("apply", "-o", output, sample("kqemu-7.ko")).code == 17
    assert not output.exists()


@pytest.mark.usefixtures("explored_alone")
def test_without_the_proof_a_broken_trampoline_is_written_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(BROKEN["own-tss"], tmp_path, monkeypatch)
    path = copied("kqemu-7.ko", tmp_path)
    done = run("apply", "-q", "--no-verify", "--no-copy", path)
    assert done.code == 0
    assert "NOT VERIFIED" in done.complaint and "kpatch verify" in done.complaint
    assert run("verify", "--jobs", "1", "--cpus", "2", "--scenario", "leave", path).code == 17


@pytest.mark.usefixtures("few")
def test_one_file_that_is_refused_does_not_keep_the_others_from_their_proof(
    tmp_path: Path,
) -> None:
    bad, good = copied("kqemu-7-cut.ko", tmp_path), copied("kqemu-7.ko", tmp_path)
    before_it = look(bad)
    done = run("apply", bad, good)
    assert done.code != 0
    assert look(bad) == before_it
    assert f"{good}: patched and proven" in done.err


def refused(monkeypatch: pytest.MonkeyPatch, path: Path, **replaced: Any) -> Done:
    """``apply`` with parts of the proof replaced; the file stays as it is."""
    for name, value in replaced.items():
        monkeypatch.setattr(crew, name, value)
    old = look(path)
    done = run("apply", path)
    assert (look(path), names(path.parent)) == (old, [path.name])
    return done


@pytest.mark.usefixtures("few")
def test_a_module_that_cannot_be_emulated_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(case: Case, obligations: Sequence[Task]) -> NoReturn:
        raise VerificationError("no room for it", where="the emulation")

    done = refused(monkeypatch, copied("kqemu-7.ko", tmp_path), tasks=cannot)
    assert done.code == 17 and "the emulation: no room for it" in done.complaint


@pytest.mark.usefixtures("few")
def test_a_process_of_the_proof_that_dies_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(crew, "_run", die)
    done = refused(monkeypatch, copied("kqemu-7.ko", tmp_path))
    assert done.code == 18 and "a process of the proof died" in done.complaint


def die(batch: Sequence[int], is_known: bool) -> NoReturn:
    """What the kernel does to a process when there is no memory left."""
    os._exit(9)


def spoiled(offset: int, byte: int, folder: Path) -> Path:
    """An unpatched module with one other byte in its monitor image, at or behind ``offset``."""
    image = bytearray(image_bytes())
    image[offset] = byte
    path = folder / "kqemu.ko"
    path.write_bytes(with_image(bytes(image)).data)
    return path


@pytest.mark.usefixtures("few")
def test_an_image_whose_code_behind_a_site_cannot_be_followed_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt = 0xF4
    path = spoiled(match_of().image.header["entry_end"], halt, tmp_path)
    done = refused(monkeypatch, path)
    assert done.code == 12
    assert "what 'hlt' at " in done.complaint


@pytest.mark.usefixtures("few")
def test_a_fault_of_the_module_outside_of_the_patch_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pop_rbx, pop_rax = 0x5B, 0x58
    behind = int(match_of().sites["exit"].end)
    path = spoiled(image_bytes().index(pop_rbx, behind), pop_rax, tmp_path)
    done = refused(monkeypatch, path)
    assert done.code == 17
    assert "not right: leave, 2 CPUs, sc: restored: rbx is " in done.complaint
