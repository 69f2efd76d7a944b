"""Completion in the shells, by the lines that docs/install.md gives for each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from kpatch.cli.commands import group
from tests.cli.harness import REPOSITORY, environment
from tests.referees import require

_TABS = {
    "bash": """
        COMP_WORDS=(kpatch ap); COMP_CWORD=1; _kpatch_completion kpatch; echo "${COMPREPLY[@]}"
        COMPREPLY=(); COMP_WORDS=(kpatch verify --mod); COMP_CWORD=2
        _kpatch_completion kpatch; echo "${COMPREPLY[@]}"
    """,
    # Outside the line editor its builtins refuse to run: these print what they are given.
    "zsh": """
        _describe() { print -rl -- ${(P)3} }
        compadd() { print -rl -- ${(P)@[-1]} }
        words=(kpatch ap); CURRENT=2; _kpatch_completion
        words=(kpatch verify --mod); CURRENT=3; _kpatch_completion
    """,
    "fish": """
        source ~/.config/fish/completions/kpatch.fish
        complete -C 'kpatch ap'; complete -C 'kpatch verify --mod'
    """,
}
"""What stands for the Tab key, behind the line that docs/install.md gives for the shell."""


@pytest.mark.parametrize("shell", _TABS)
def test_a_shell_completes_commands_and_options(tmp_path: Path, shell: str) -> None:
    require(shell)
    call = tmp_path / "kpatch"
    call.write_text(f'#!/bin/sh\nexec {sys.executable} -m kpatch "$@"\n')
    call.chmod(0o755)
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^.*_KPATCH_COMPLETE={shell}_source.*$", page, re.M)
    start = f"autoload -Uz compinit && compinit -u -d {tmp_path}/dump" if shell == "zsh" else ""
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *quiet, "-c", f"{start}\n{line}\n{_TABS[shell]}"],
        env=environment({"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert re.search(r"^apply", done.stdout, re.M), done.stderr
    assert re.search(r"^--model", done.stdout, re.M), done.stderr
    if shell == "fish":  # With the whole help, which has a comma in it.
        assert re.search(r"^--model\t.*, .*\.$", done.stdout, re.M)


def test_a_shell_completes_scenarios_and_what_can_be_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell = BashComplete(group, {}, "kpatch", "_KPATCH_COMPLETE")

    def offered(*words: str) -> list[tuple[str, str]]:
        *before, last = words
        return [(each.type, each.value) for each in shell.get_completions(before, last)]

    assert offered("verify", "--scenario", "mov") == [("plain", "moving")]
    assert offered("explain", "Own-t") == [("plain", "own-tss")]
    assert offered("explain", "docs/l") == [
        ("plain", "docs/library.md"),
        ("plain", "docs/limits.md"),
    ]
    assert offered("explain", "nothing") == [("file", "nothing")]
    words = [value for _, value in offered("explain", "")]
    assert len(words) > 100 and not [word for word in words if " " in word or "#" in word]
    # What is a file is taken as one, so one that begins so is what is meant.
    (tmp_path / "kqemu.ko").touch()
    assert offered("explain", "kq") == [("file", "kq")]
