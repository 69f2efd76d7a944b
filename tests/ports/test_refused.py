"""A refused module is built, staged, installed and packaged by nothing, ``make -k`` included.

``make -k`` goes on after an error, and ends with 0. Where a tree runs a phase in a make of its own
(a Makefile.local is enough) the phase then counts as done.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from kpatch.ports import place
from tests.ports.harness import Tree, by_fragment, by_scripts, by_uses

HOOKS = {"uses": by_uses, "scripts": by_scripts, "fragment": by_fragment}


WAYS = ("modern uses", "modern fragment", "2014 scripts", "old scripts", "old fragment")


@pytest.fixture(params=WAYS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    """A tree that is hooked in one way, and runs each phase in a make of its own."""
    era, way = request.param.split()
    made = Tree(tmp_path, era)
    HOOKS[way](made)
    (made.port / "Makefile.local").write_text("LOCAL=\tyes\n")
    return made


def packed(tree: Tree) -> list[str]:
    """The modules in the package, if there is one."""
    package = tree.work / "package.tar"
    if not package.exists():
        return []
    with tarfile.open(package) as tar:
        return [name for name in tar.getnames() if name.endswith(".ko")]


@pytest.mark.parametrize(
    ("argument", "failing"),
    [("", "verify"), ("KPATCH_FLAGS=--typo", "")],
)
def test_make_k_packages_no_refused_module(tree: Tree, argument: str, failing: str) -> None:
    done = tree.make("-k", "package", argument or "X=", FAKE_FAIL=failing)
    assert "built kqemu.ko" in done.log
    assert "kpatch: kept as " in done.log
    assert not tree.module.exists()
    assert tree.refused.is_file()
    assert not tree.installed.exists()
    assert packed(tree) == []


@pytest.mark.parametrize("flag", ["-k", "-i"])
def test_a_stage_with_another_module_leaves_it_nowhere(tree: Tree, flag: str) -> None:
    """In a tree without a stage the module lies in /boot/modules by then."""
    tree.edit("@cp ${INSTALL_WRKSRC}/kqemu.ko", "@cp ${BUILT}")
    done = tree.make(flag, "package")
    assert "the staged module is not repaired" in done.log
    assert f"kpatch: removed, because of this error: {tree.installed}" in done.log
    assert not tree.installed.exists()
    assert packed(tree) == []


def test_the_three_ways_take_a_module_away_by_the_same_commands() -> None:
    """Each file stands alone where it is copied to, so each has them; they must not drift apart."""
    data = Path(place.__file__).parent / "data"
    spelt = []
    for name in ("files/kpatch.mk", "overlay/Mk/Uses/kpatch.mk", "scripts/kpatch.sh"):
        text = (data / name).read_text().replace("\\\n", " ").replace("$$", "$")
        found = re.findall(
            r"find (\S+) -type f -name \S+ (-exec .*?\\;.*?\\;)", " ".join(text.split())
        )
        for where in ("STAGEDIR", "staged", "stagedir"):
            found = [(re.sub(rf".*{where}.*", "stage", place), what) for place, what in found]
        found = [(re.sub(r".*WRKDIR.*", "work", place), what) for place, what in found]
        spelt.append([(place, what.replace("${ECHO_MSG}", "echo")) for place, what in found])
    assert spelt[0] == spelt[1] == spelt[2]
    assert [place for place, _ in spelt[0]] == ["stage", "work"]


@pytest.mark.parametrize("way", ["scripts", "fragment"])
def test_a_failed_build_leaves_what_is_installed_alone(tmp_path: Path, way: str) -> None:
    """Only the step behind an installation takes away what that has put there."""
    tree = Tree(tmp_path, "old")
    HOOKS[way](tree)
    tree.installed.parent.mkdir(parents=True)
    tree.installed.write_text("from before\n")
    assert tree.make("install", FAKE_FAIL="verify").status != 0
    assert tree.installed.read_text() == "from before\n"
