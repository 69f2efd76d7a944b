"""The form of the scripts in findings/. They are not run here: they need a network."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
BEHIND_A_NAME = re.compile(r"(==|=)\d+[\w.:+~-]*")


def test_there_are_scripts_and_the_page_lists_each() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+\.sh)` \|", (FOLDER / "README.md").read_text(), re.M)
    assert listed == [each.name for each in SCRIPTS]
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: str(each.stem))
def test_a_script_has_the_form(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "#!/bin/sh"
    head = [line for line in lines[1:] if line.startswith("# ")]
    for word in ("Package:", "Behaviour:", "Expected:"):
        assert sum(line.startswith(f"# {word}") for line in head) == 1
    assert re.search(r"# Package: .*\d+\.\d+|# Package: .*\d{8}", text)
    assert os.access(script, os.X_OK)
    assert "set -eu\n" in text and "work=$(mktemp -d)\n" in text
    assert "trap 'rm -rf \"$work\"' EXIT\n" in text
    installs = [each for each in lines if "pip" in each and " install " in each]
    installs += [each for each in lines if each.startswith("apt-get download")]
    assert installs and all(BEHIND_A_NAME.search(each) for each in installs)
    assert "kpatch" not in text
    assert lines[-1] == "echo 'as stated'"
    assert sum(line.startswith("diff -u ") for line in lines) == 1
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
