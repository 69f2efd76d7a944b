"""The panic of 2008 happens with a module as it was built, and not with the patched one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from kpatch.panicdemo import panic_scenes
from kpatch.witness.machine.result import read_result
from tests import referees
from tests.cli import schema
from tests.cli.harness import command_line, environment, patched_bytes, run
from tests.processes import awaited
from tests.verify.mutants.table import MUTANTS

SAMPLES = Path(__file__).parents[2] / "samples"

referees.require("qemu-system-x86_64", whole_module=True)


def test_the_panic_is_shown_and_then_it_is_gone() -> None:
    done = run("demo", SAMPLES / "kqemu-7.ko")
    assert done.code == 0, done.out
    before, _, after = done.out.partition("\nthe patched module: ")
    assert "the module as it was built: the kernel panics" in before
    assert ("| Fatal trap " in before and "| panic: " in before) or "reset itself" in before
    assert after.startswith("it runs on") and "CPU 1: 5000 calls of the switch" in after


def test_a_patched_file_is_shown_against_its_own_original(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    done = run("demo", "--json", path)
    schema.check(done.document, "demo", 0)
    first, second = done.document["files"][0]["scenes"]
    assert (first["must_panic"], first["panicked"]) == (True, True)
    assert (second["must_panic"], second["panicked"]) == (False, False)
    assert path.read_bytes() == patched_bytes()


def test_a_wrong_patch_panics_too() -> None:
    (mutant,) = (each for each in MUTANTS if each.name == "the base is written after ltr")
    shown = panic_scenes("qemu", mutant.case)
    assert [scene.holds for scene in shown.scenes] == [True, False]


def test_a_source_fix_is_not_accused_of_the_panic() -> None:
    """The processes call the switch alone, without the C side that repairs TR behind it."""
    done = run("demo", SAMPLES / "kqemu-7-fix-a.ko")
    assert (
        done.code == 14 and "source fix" in done.complaint and "verify --machine" in done.complaint
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whatever_ends_kpatch_ends_the_machine_too(number: int, tmp_path: Path) -> None:
    # A folder whose name is longer than a socket's may be, and one with a comma.
    programs, temporary = tmp_path / "bin", tmp_path / f"{'long' * 30}, and a comma"
    programs.mkdir()
    temporary.mkdir()
    frozen = programs / "qemu-system-x86_64"  # it never starts its CPUs, so it does not end
    frozen.write_text(f'#!/bin/sh\n: >"$0.$$"\nexec {shutil.which(frozen.name)} -S "$@"\n')
    frozen.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    with subprocess.Popen(
        command_line("demo", SAMPLES / "kqemu-7.ko"),
        env=environment({"TMPDIR": str(temporary), "PATH": path}),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup has one ignored
    ) as process:
        assert awaited(lambda: process.poll() is not None or any(temporary.glob("*/serial")))
        process.send_signal(number)
        process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert list(temporary.iterdir()) == []
    started = {path.suffix[1:] for path in programs.glob("*.*")}
    assert started and not [each for each in started if Path("/proc", each).exists()]


def test_the_message_is_read_as_it_was_written() -> None:
    text = (
        "message\nFatal trap 12: page fault\npanic: page fault\n"
        "panic cpu 0 stack 1 vector 14 error 0x2\n"
        "process cpu 0 rounds 3 clobbered 0\nprocess cpu 1 rounds 4 clobbered 1\nend done\n"
    )
    found = read_result(text, 0.5)
    assert found is not None and found.panic is not None
    assert found.panic.message == ("Fatal trap 12: page fault", "panic: page fault")
    assert (found.panic.stack, found.panic.error) == (1, 2)
    assert [dataclasses.astuple(found)[0]] == ["done"]
