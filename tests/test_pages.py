"""The pages: every command line in them runs, and what they show is what it prints today.

What cannot run where pages are written anew stands in one table with its reason: ``ELSEWHERE`` of
docs/tools/regenerate.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.harness import run
from tests.referees import require

ROOT = Path(__file__).resolve().parent.parent


def _regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "regenerate", ROOT / "docs" / "tools" / "regenerate.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(text: str) -> str:
    """The words, however they are folded."""
    return " ".join(text.split())


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.name))
def test_the_lines_of_a_page_have_at_most_140_characters(page: Path) -> None:
    """Those of running text: rows of tables and what a program prints are as long as they are."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 140 and not line.startswith(("|", "    "))]


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.name))
def test_a_page_shows_what_the_program_prints(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what it takes to start kpatch anew is longer than most commands."""
    module = _regenerate()
    for name, value in module.TERMINAL.items():
        monkeypatch.setenv(name, value)

    def called(words: list[str], folder: Path) -> tuple[int, str]:
        with contextlib.chdir(folder):
            done = run(*words)
        return done.code, done.out + done.err

    text = page.read_text(encoding="utf-8")
    assert plain(module.page(text, called)) == plain(text), "run 'make docs'"


def test_the_manual_has_every_option_as_the_command_line_has_it() -> None:
    module = _regenerate()
    text = module.MANUAL.read_text(encoding="utf-8")
    assert module.manual(text) == text, "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.name))
def test_every_page_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).exists(), name


def _commands(page: Path) -> set[str]:
    """Command lines: behind a ``$`` in a console block, and indented ones."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
    found = {line[2:] for line in "".join(blocks).splitlines() if line.startswith("$ ")}
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    if page.name != "ports.md":  # tests/ports/test_page.py runs those
        programs = "kpatch|make|pip|python3|scp|cp|pkg|kldload|kldunload"
        found |= set(re.findall(rf"^ {{4,}}((?:{programs}) .*)$", outside, re.M))
    return found


def test_a_command_that_is_not_run_here_is_run_elsewhere_or_says_why_not() -> None:
    module = _regenerate()
    shown = set().union(*map(_commands, PAGES))
    blocks = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    here = {each for each in shown if f"$ {each}\n" in blocks and each.startswith("kpatch ")}
    assert shown - here - set(module.ELSEWHERE) == set()
    assert set(module.ELSEWHERE) <= shown
    for command, (who, what) in module.ELSEWHERE.items():
        if who == module.CI:
            run = (ROOT / ".ci" / "run").read_text()
            assert re.search(rf"^ *(?:time )?{re.escape(what)}(?= |$)", run, re.M), command
        elif who == module.TESTS:
            file, name = what.split("::")
            assert f"def {name}(" in (ROOT / file).read_text(), command
        else:
            assert who == module.NOBODY and "FreeBSD machine" in what


def _lines_of(program: str) -> list[str]:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    found = re.findall(rf"^\$ ({program} .*)$", page, re.M)
    assert found
    return found


def test_a_module_goes_from_its_host_and_back_as_the_page_says(tmp_path: Path) -> None:
    """``scp`` is played: the host is a folder. Proofs have tests of their own."""
    host = tmp_path / "host" / "boot" / "modules"
    host.mkdir(parents=True)
    original = (ROOT / "samples" / "kqemu-7.ko").read_bytes()
    (host / "kqemu.ko").write_bytes(original)
    places = f"$(echo \"$1\" | sed 's,^root@host:,{tmp_path}/host,')"
    scripts = {
        "scp": f'exec cp "{places}" "{places.replace("$1", "$2")}"',
        "kpatch": f'exec "{sys.executable}" -m kpatch "$@" --no-verify',
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for line in _lines_of("scp"):
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env={**os.environ, **path}, check=True)
    data = (host / "kqemu.ko").read_bytes()
    assert data != original and data == (tmp_path / "kqemu.ko").read_bytes()


def test_the_port_goes_where_the_page_says_and_make_reads_it_there(tmp_path: Path) -> None:
    require("bmake")
    trees = ROOT / "tests" / "ports" / "trees"
    shutil.copytree(trees / "modern", tmp_path / "ports")
    (tmp_path / "ports" / "sysutils").mkdir()
    (tmp_path / "conf").write_text(f"PORTSDIR={tmp_path}/ports\nUSESDIR={tmp_path}\n")
    (tmp_path / "python.mk").touch()
    (line,) = _lines_of("cp")
    command = line.replace("/usr/ports", f"{tmp_path}/ports")
    done = subprocess.run(
        ["sh", "-c", f"{command} && bmake -m {trees}/mk -V DISTNAME -V PORTNAME"],
        cwd=ROOT,
        env={**os.environ, "__MAKE_CONF": str(tmp_path / "conf"), "OSVERSION": "1500000"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "kpatch" in done.stdout.split()
