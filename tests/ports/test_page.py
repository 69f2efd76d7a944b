"""``docs/ports.md``: each of its command lines runs, in the order of the page."""

from __future__ import annotations

import bz2
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from kpatch.cli import main
from kpatch.ports import place
from tests.package.makers import package, packing_list
from tests.ports.harness import HERE, OSVERSION, REPOSITORY, Tree

PAGE = (REPOSITORY / "docs" / "ports.md").read_text()
PROGRAMS = ("kpatch ", "make ", "cp ")
SETTINGS = ("OVERLAYS+=", "emulators_kqemu-kmod-devel_VARS+=", "KPATCH_OSVERSION?=")


def shown(starts: tuple[str, ...]) -> list[str]:
    """The indented lines of the page that start so."""
    lines = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(starts) and not line.startswith("kpatch:")]


def commands() -> list[str]:
    """The command lines. What a build prints starts with the name of a step."""
    steps = ("kpatch apply:", "kpatch verify:", "kpatch staged:", "kpatch packaged:")
    return [line for line in shown(PROGRAMS) if not line.startswith(steps)]


def test_every_command_line_of_the_page_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSVERSION", OSVERSION)
    monkeypatch.chdir(tmp_path)
    tree = Tree(tmp_path, "modern")
    tree.port = hooked = tree.port.rename(tree.port.with_name("kqemu-kmod-devel"))
    mine = tmp_path / "mine"
    own = mine / "emulators" / "kqemu-kmod-devel"
    places = {
        "/usr/local/share/kpatch/overlay": str(tree.overlay),
        "/usr/local/ports": str(mine),
        "/usr/ports": str(tree.ports_dir),
        ".../kpatch/ports/data/files/kpatch.mk": str(place.fragment()),
    }
    (own / "files").mkdir(parents=True)
    (own / "Makefile").write_bytes((tree.port / "Makefile").read_bytes())
    (tree.port / "files").mkdir()
    module = (REPOSITORY / "samples" / "kqemu-7.ko").read_bytes()
    members = {"+CONTENTS": packing_list(module).encode(), "boot/modules/kqemu.ko": module}
    other = b"text\n"
    members["share/doc/kqemu.txt"] = other
    Path("kqemu-kmod-1.tbz").write_bytes(bz2.compress(package(members)))
    lines = commands()
    assert len(lines) == 10
    for line in lines:
        command = line
        for path, real in places.items():
            command = command.replace(path, real)
        words = shlex.split(command)
        if words[0] == "make":
            settings = shown(SETTINGS)
            assert len(settings) == 3
            conf = "\n".join(settings).replace("/usr/local/share/kpatch/overlay", str(tree.overlay))
            port = Path(words[2])
            # The first build of the page stands before the overlay is installed: it has no hook.
            is_hooked = port == hooked
            tree.conf(*(each for each in conf.splitlines() if is_hooked or "_VARS" not in each))
            assert built(tree, port, words[3:]) == 0, line
        elif words[0] == "cp":
            assert subprocess.run(words, check=False).returncode == 0
        else:
            assert called(tree, words[1:]) in (0, 1), capsys.readouterr().err


def called(tree: Tree, words: list[str]) -> int:
    """Run kpatch in this process."""
    if words[0] == "hook":
        make = f"--make=bmake -m {HERE / 'trees' / 'mk'}"
        words += [f"--make-conf={tree.make_conf}", f"--overlay={tree.overlay}", make]
    else:
        words = [words[0], "--no-verify", *(str(path) for path in Path().glob(words[1]))]
    return main.run(words)


def built(tree: Tree, port: Path, targets: list[str]) -> int:
    """Run make in a port of the tree or of an overlay."""
    tree.port = port
    done = tree.make(*targets)
    assert port.parent.parent.name == "mine" or "kpatch verify: kqemu.ko: proven" in done.log
    return done.status


def test_the_page_tells_of_every_step_and_trap_rule_with_its_weight() -> None:
    """Each row of the last table says what the code says of the rule."""
    source = "".join(path.read_text() for path in (REPOSITORY / "kpatch" / "ports").glob("*.py"))
    found = dict(re.findall(r'Trap\(\s*"([a-z-]+)".*?blocks=(True|False)', source, re.DOTALL))
    assert len(found) > 15
    rows = PAGE[PAGE.index("## Traps that") :]
    for rule, blocks in found.items():
        row = next(line for line in rows.splitlines() if f"`{rule}`" in line)
        assert row.endswith("| yes |" if blocks == "True" else "| no |"), rule
