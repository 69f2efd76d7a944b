"""What people see first: the screen of apply, the words of explain, suggestions, completion."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kpatch.cli.commands import EXIT_CODES
from kpatch.report.apply_text import applied_text
from kpatch.report.glossary import terms
from kpatch.report.style import Style
from tests.cli import schema
from tests.cli.harness import copied, environment, kpatch, run
from tests.cli.terminal import ESCAPE, on_terminal, screen
from tests.referees import require


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], str]:
    """The document and the terminal's screens of one ``apply``, 80 columns wide."""
    folder = tmp_path_factory.mktemp("applied")
    path = copied("kqemu-7.ko", folder, "kqemu.ko")
    done = kpatch("apply", "--json", "kqemu.ko", cwd=folder)
    schema.check(done.document, "apply", 0)
    shutil.move(folder / "kqemu.ko.orig.gz", folder / "old.gz")
    copied("kqemu-7.ko", folder, path.name)
    return done.document["files"][0], on_terminal(["apply", "kqemu.ko"], folder, 80)[1]


def test_the_first_screen_answers_five_questions_in_20_lines(
    applied: tuple[dict[str, object], str],
) -> None:
    document, _ = applied
    for width in (60, 80, 120):
        lines = applied_text(document, Style(), width).splitlines()
        assert len(lines) <= (20 if width >= 80 else 28)
        assert max(map(len, lines)) <= width
    text = " ".join(applied_text(document, Style(), 80).split())
    assert text.startswith("kqemu.ko: PATCHED AND PROVEN file kqemu")
    for each in (".rodata+0x61", ".rodata+0x1b1", "1, 2 and 4 CPUs", "sc and tso", "NMIs"):
        assert each in text
    assert "undo kpatch revert kqemu.ko; the original is also kept in kqemu.ko.orig.gz" in text
    numbers = re.search(r"\((\d+) explorations, (\d+) states", text)
    proof = document["proof"]
    assert isinstance(proof, dict) and numbers is not None
    held = [each for each in proof["explored"] if each["kind"] == "obligation"]
    assert [int(each) for each in numbers.groups()] == [
        len(held),
        sum(each["states"] for each in held),
    ]


def test_the_terminal_keeps_no_debris_of_the_progress(
    applied: tuple[dict[str, object], str],
) -> None:
    document, written = applied
    assert "proving kqemu.ko" in ESCAPE.sub("", written)
    assert screen(written, 80) == applied_text(document, Style(), 80).splitlines()


def test_a_dumb_terminal_gets_one_line(tmp_path: Path) -> None:
    copied("kqemu-7.ko", tmp_path, "kqemu.ko")
    arguments = ["verify", "--model", "sc", "--cpus", "2", "kqemu.ko"]
    code, written = on_terminal(arguments, tmp_path, 80, "dumb")
    assert code == 17 and "\x1b" not in written
    assert written.count("proving") <= 1


def test_several_files_get_a_line_each_and_a_closing_line(tmp_path: Path) -> None:
    for name in ("kqemu-7.ko", "kqemu-6.ko", "kqemu-7-twice.ko", "kqemu-i386.ko"):
        copied(name, tmp_path)
    done = kpatch("apply", "--no-verify", *sorted(tmp_path.glob("*.ko")), cwd=tmp_path)
    lines = done.err.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "4 files: 2 patched, 1 refused, 1 nothing to do"


def test_scan_ends_with_the_next_step(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    assert run("scan", path).out.splitlines()[-1] == f"  next: kpatch apply {path}"


def test_every_word_of_a_document_has_an_explanation(
    applied: tuple[dict[str, object], str],
) -> None:
    known = terms(dict(EXIT_CODES))
    proof = applied[0]["proof"]
    assert isinstance(proof, dict)
    for each in proof["explored"]:
        words = (each["scenario"], each["model"], each["verdict"], f"tr {each['tr_selector']:#x}")
        assert {*words, *(one["prop"] for one in each["counterexamples"])} <= set(known)
    for code in EXIT_CODES:
        assert run("explain", code).out.startswith(f"exit code {code}: ")
    for word in known:
        done = run("explain", word)
        assert done.code == 0 and " ".join(done.out.split()).startswith(f"{word}: ")


def test_an_unknown_word_or_command_gets_a_suggestion() -> None:
    assert "did you mean scan?" in run("scn", "x.ko").complaint
    assert "schedule" in run("explain", "schedul").complaint
    assert run("explain", "/nonexistent/kqemu.ko").code == 18


def test_explain_tells_the_bug_of_this_file(tmp_path: Path) -> None:
    path = copied("kqemu-7-offsets.ko", tmp_path)
    done = run("explain", "--json", path)
    schema.check(done.document, "explain", 0)
    text = "\n".join(done.document["files"][0]["lines"])
    (match,) = [each["match"] for each in run("scan", "--json", path).document["files"]]
    for site in match["sites"]:
        assert f"+{site['section_offset']:#x}" in text
        assert all(each in text for each in site["instructions"])
    assert "CPU 0 ends with TSS 1: WRONG, that is another CPU's" in text


def test_the_schema_is_one_and_refuses_what_is_none() -> None:
    done = run("schema")
    assert done.code == 0 and '"const": 1' in done.out
    document = run("scan", "--json", "/nonexistent").document
    assert schema.problems(document) == []
    assert schema.problems({**document, "schema": 2})
    assert schema.problems({key: each for key, each in document.items() if key != "files"})


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (
            "bash",
            'eval "$(_KPATCH_COMPLETE=bash_source kpatch)"; COMP_WORDS=(kpatch ap); COMP_CWORD=1; '
            '_kpatch_completion kpatch; echo "${COMPREPLY[@]}"; '
            "COMPREPLY=(); COMP_WORDS=(kpatch verify --mod); COMP_CWORD=2; "
            '_kpatch_completion kpatch; echo "${COMPREPLY[@]}"',
        ),
        ("zsh", 'eval "$(_KPATCH_COMPLETE=zsh_source kpatch)"; whence -w _kpatch_completion'),
        (
            "fish",
            "_KPATCH_COMPLETE=fish_source kpatch | source; complete -C 'kpatch ap'; "
            "complete -C 'kpatch verify --mod'",
        ),
    ],
)
def test_a_shell_completes_commands_and_options(tmp_path: Path, shell: str, script: str) -> None:
    require(shell)
    call = tmp_path / "kpatch"
    call.write_text(f'#!/bin/sh\nexec {sys.executable} -m kpatch "$@"\n')
    call.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    if shell == "zsh":
        script = f"autoload -Uz compinit && compinit -u -d {tmp_path}/dump; {script}"
    done = subprocess.run(
        [shell, *quiet, "-c", script],
        env=environment({"PATH": path, "HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if shell == "zsh":
        assert done.stdout.strip() == "_kpatch_completion: function", done.stderr
    else:
        assert re.search(r"^apply", done.stdout, re.M), done.stderr
        assert re.search(r"^--model", done.stdout, re.M), done.stderr
