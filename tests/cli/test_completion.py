"""Completion in the shells, by the lines that docs/install.md gives for each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
