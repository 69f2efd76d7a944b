"""The port of kpatch itself, read by the real bmake, and its packing list."""

from __future__ import annotations

import configparser
import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PORT = ROOT / "packaging" / "freebsd"
TREE = Path(__file__).parent / "trees" / "modern"


@pytest.fixture
def uses(tmp_path: Path) -> Path:
    """Mk/Uses with the two variables of python.mk that the port takes."""
    folder = tmp_path / "Uses"
    folder.mkdir()
    (folder / "python.mk").write_text("PYTHON_PKGNAMEPREFIX=py311-\nPY_FLAVOR=py311\n")
    return folder


def variable(name: str, uses: Path) -> list[str]:
    """What the real bmake makes of a variable of the port, in words."""
    command = ["bmake", "-m", str(TREE.parent / "mk"), "-C", str(PORT), "-V", name]
    (uses.parent / "make.conf").write_text(f"PORTSDIR={TREE}\nUSESDIR={uses}\n")
    settings = {"__MAKE_CONF": str(uses.parent / "make.conf"), "OSVERSION": "1500000"}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **settings}
    )
    return done.stdout.split()


def test_the_port_needs_what_the_package_needs(uses: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = {
        re.sub(r",.*| ", "", line).lower()
        for line in setup["options"]["install_requires"].splitlines()
        if line
    }
    found = {
        each.partition(":")[0].removeprefix("py311-").lower()
        for each in variable("RUN_DEPENDS", uses)
    }
    assert found == wanted


def test_the_port_has_the_version_and_the_name_of_the_package(uses: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    name = variable("PORTNAME", uses)
    assert name == [setup["metadata"]["name"]]
    assert (variable("DISTVERSION", uses)[0]) in (ROOT / "kpatch" / "__init__.py").read_text()


SECTIONS = (
    "PORTNAME DISTVERSION CATEGORIES MASTER_SITES PKGNAMEPREFIX",
    "MAINTAINER COMMENT",
    "LICENSE LICENSE_FILE",
    "BUILD_DEPENDS RUN_DEPENDS",
    "USES USE_PYTHON",
    "NO_ARCH PLIST",
)
COMMANDS = (
    "cat chmod cp echo env find grep install ln make mkdir mv patch perl python rm sed sh touch"
)


def test_the_makefile_is_as_portlint_wants_it() -> None:
    """The rules of portlint that apply: sections, their order, white space, bare commands."""
    text = (PORT / "Makefile").read_text()
    joined = re.sub(r"^#.*\n", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    found = [re.findall(r"^(\w+)=\t", part, re.MULTILINE) for part in joined.split("\n\n")]
    assert [" ".join(names) for names in found if names] == list(SECTIONS)
    comment = re.search(r"^COMMENT=\t(.*)$", text, re.MULTILINE)
    assert comment is not None
    assert comment[1][0].isupper() and len(comment[1]) <= 70 and not comment[1].endswith(".")
    assert not re.search(r"^\w+[?+:]?=\t* ", text, re.MULTILINE), "a space where a tab belongs"
    assert not re.search(r"[ \t]+$|^ {8}", text, re.MULTILINE), "white space at an end of a line"
    assert "\n\n\n" not in text and text.endswith(".include <bsd.port.mk>\n")
    steps = re.findall(r"^\t+(.*)", text, re.MULTILINE)
    assert not [each for each in steps if set(each.split()) & set(COMMANDS.split())]
    for each in re.findall(r"\S+:[a-z]+/\S+", joined):
        assert re.fullmatch(r"\$\{PYTHON_PKGNAMEPREFIX\}[^:]+>=?[^:]+:[^:]+@\$\{PY_FLAVOR\}", each)


def test_the_description_is_as_portlint_wants_it() -> None:
    lines = (PORT / "pkg-descr").read_text(encoding="ascii").splitlines()
    assert 3 <= len(lines) <= 24 and all(len(line) <= 80 for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_the_page_says_which_versions_are_needed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needs = dict(re.findall(r"([\w-]+) *>= *([\d.]+)", setup["options"]["install_requires"]))
    page = (ROOT / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| (?:`[^`]+`|none[^|]*) \| ([\d.]+) \|", page, re.MULTILINE)
    assert dict(rows) == {name.lower(): version for name, version in needs.items()}


def test_the_packing_list_names_sources_compiled_files_and_the_page() -> None:
    lines: Any = runpy.run_path(str(PORT / "plist.py"))["lines"]
    wheel = [
        "kpatch/cli/main.py",
        "kpatch/py.typed",
        "kpatch-1.0.0.data/data/share/man/man1/kpatch.1",
        "kpatch-1.0.0.dist-info/RECORD",
    ]
    site = "%%PYTHON_SITELIBDIR%%/"
    assert lines(wheel) == [
        f"{site}kpatch-1.0.0.dist-info/RECORD",
        f"{site}kpatch/cli/__pycache__/main%%PYTHON_TAG%%.opt-1.pyc",
        f"{site}kpatch/cli/__pycache__/main%%PYTHON_TAG%%.pyc",
        f"{site}kpatch/cli/main.py",
        f"{site}kpatch/py.typed",
        "bin/kpatch",
        "share/man/man1/kpatch.1.gz",
    ]
