"""What only Mk/Uses/kpatch.mk does: arguments, the dependency, ways to give USES to a port."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ports.harness import Tree


@pytest.fixture
def modern(tmp_path: Path) -> Tree:
    """A hooked tree with overlays."""
    tree = Tree(tmp_path, "modern")
    tree.hook()
    return tree


def uses(tree: Tree, words: str) -> None:
    """Give the port other arguments, by the way that reaches it."""
    tree.conf(f"OVERLAYS+=\t{tree.overlay}", f"emulators_kqemu-kmod_VARS=\tUSES+={words}")


def test_the_ports_own_uses_still_work(modern: Tree) -> None:
    assert modern.make("-V", "USES").log.split() == ["kmod", "kpatch"]


def test_a_maintainer_can_write_it_into_the_port(modern: Tree) -> None:
    modern.conf(f"OVERLAYS+=\t{modern.overlay}")
    modern.edit("USES=\t\tkmod", "USES=\t\tkmod kpatch")
    assert "kpatch apply: kqemu.ko: repaired" in modern.make("build").log


def test_files_are_its_arguments(modern: Tree) -> None:
    uses(modern, "kpatch:one.ko,sub/two.ko")
    modern.edit(
        "@cp ${BUILT} ${BUILD_WRKSRC}/kqemu.ko",
        "@mkdir ${WRKSRC}/sub; cp ${BUILT} ${WRKSRC}/one.ko; cp ${BUILT} ${WRKSRC}/sub/two.ko",
    )
    done = modern.make("build")
    assert done.status == 0, done.log
    assert done.line("kpatch apply: one.ko: repaired") < done.line("kpatch apply: two.ko: repaired")
    assert (modern.wrksrc / "one.ko").read_text() == "repaired\n"
    assert (modern.wrksrc / "sub" / "two.ko").read_text() == "repaired\n"


@pytest.mark.parametrize(
    "bad", ["build", "kqemu", "kqemu.ko,--no-verify.so", "../kqemu.ko", "-x.ko"]
)
def test_a_wrong_argument_makes_the_port_ignored(modern: Tree, bad: str) -> None:
    uses(modern, f"kpatch:{bad}")
    done = modern.make("build")
    assert done.status != 0
    assert "has an incorrect USES=kpatch or KPATCH_FILES:" in done.log
    assert not modern.work.exists()


@pytest.mark.parametrize("with_port", [False, True])
def test_a_missing_program_is_seen_before_anything_is_built(modern: Tree, with_port: bool) -> None:
    if with_port:
        own_port(modern.ports_dir)
    done = modern.make("build", "KPATCH=kpatch-is-not-here")
    assert done.status != 0
    assert "kpatch: no program kpatch-is-not-here: install kpatch" in done.log
    assert ("kpatch-is-not-here - not found" in done.log) == with_port
    assert "built kqemu.ko" not in done.log


def own_port(tree: Path) -> None:
    """A port of kpatch that installs nothing."""
    folder = tree / "sysutils" / "kpatch"
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text("install:\n\t@echo installed nothing\n")


@pytest.mark.parametrize("where", ["ports", "overlay"])
def test_the_port_of_kpatch_is_a_dependency_where_there_is_one(modern: Tree, where: str) -> None:
    own_port(modern.root / where)
    done = modern.make("build")
    assert done.status == 0, done.log
    done.line("depends on executable: kpatch - found")
    done = modern.make("clean", "build", "KPATCH_DEPENDS=")
    assert done.status == 0, done.log
    assert "depends on" not in done.log
    assert "kpatch apply: kqemu.ko: repaired" in done.log


@pytest.mark.parametrize("target", ["clean", "all-depends-list"])
def test_without_that_port_no_list_complains_of_it(modern: Tree, target: str) -> None:
    assert modern.make(target).log == ""
    done = modern.make(target, "KPATCH_DEPENDS=kpatch:sysutils/kpatch")
    assert 'sysutils/kpatch" non-existent -- dependency list incomplete' in done.log


def test_including_it_twice_does_no_harm(modern: Tree) -> None:
    uses(modern, "kpatch")
    modern.edit("USES=\t\tkmod", "USES=\t\tkmod kpatch")
    done = modern.make("build")
    assert done.status == 0, done.log
    done.line("kpatch apply: kqemu.ko: repaired")


def test_a_file_name_with_a_shell_character_is_ignored_or_harmless(modern: Tree) -> None:
    uses(modern, "kpatch:a;touch_x.ko")
    done = modern.make("build")
    assert done.status != 0
    assert "kpatch apply:" not in done.log


def test_uses_in_make_conf_does_nothing(modern: Tree) -> None:
    """The trap that the survey warns of: the port's own USES= overwrites it, silently."""
    modern.conf(f"OVERLAYS+=\t{modern.overlay}", "USES+=\tkpatch")
    done = modern.make("build")
    assert done.status == 0
    assert "kpatch apply" not in done.log
    assert modern.module.read_text() == "affected\n"


def test_uses_set_after_the_options_loses_the_addition(modern: Tree) -> None:
    """The second trap: the port sets USES when the addition of make.conf has been made."""
    modern.edit("USES=\t\tkmod\n", ".include <bsd.port.options.mk>\nUSES=\t\tkmod\n")
    done = modern.make("build")
    assert done.status == 0
    assert modern.module.read_text() == "affected\n"


def test_the_tree_itself_is_not_edited(modern: Tree) -> None:
    assert not list(modern.ports_dir.rglob("*kpatch*"))
