"""A command that is printed can be copied into a shell, whatever the file is called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.report.command_line import command_line, quoted
from kpatch.report.fold import fold
from tests.cli.harness import copied, run

# What a shell, an option parser or a terminal would take for something else.
_NAMES = (
    "it's a; dir  x.ko",
    "-k.ko",
    "$(id) `id` *?.ko",
    "a\\b\tc\n\x1b[31m\x85.ko",
    "\udcff'.ko",
)


def test_a_shell_reads_each_word_as_it_was() -> None:
    line = " ".join(map(quoted, _NAMES))
    assert line.isprintable()
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=300
    )
    assert [os.fsdecode(word) for word in read.stdout.split(b"\0")[:-1]] == list(_NAMES)


@given(st.text("a '\\;$\n:-", max_size=40), st.sampled_from([20, 60, 80]))
def test_no_fold_goes_through_a_command(path: str, width: int) -> None:
    line = command_line("verify", path)
    text = f"  it is patched, and nothing was verified. Do it with: {line}; and some more words"
    assert line in fold(text, width)


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    assert command_line("apply", "-k.ko") == "kpatch apply ./-k.ko"


@pytest.mark.parametrize("name", _NAMES[:4])
def test_scan_and_explain_name_a_command_that_works(name: str, tmp_path: Path) -> None:
    path = copied("kqemu-7-fix-c.ko", tmp_path, name)
    given = ("--osversion", "700055")
    for command in ("scan", "explain"):
        done = run(command, *given, path)
        assert all(text.isprintable() for text in done.out.split("\n"))
    path = copied("kqemu-7.ko", tmp_path, name)
    line = run("scan", *given, path).out.splitlines()[-1].removeprefix("  next: ")
    assert line == f"kpatch apply --osversion 700055 {quoted(str(path))}"
