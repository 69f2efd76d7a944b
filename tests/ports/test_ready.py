"""``ready`` is said where the next build repairs, and nowhere else. The real bmake is asked.

Each case sets a tree up, asks, and then builds: what the build does is the referee.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kpatch.errors import UsageError
from kpatch.ports import place
from kpatch.ports.ask import Make
from kpatch.ports.build import Standing
from kpatch.ports.ready import Way
from kpatch.ports.tree import Survey, survey
from tests.objects import kernel
from tests.ports.harness import HERE, ORIGIN, OSVERSION, Tree, by_fragment, by_scripts

MAKE = Make(("bmake", "-m", str(HERE / "trees" / "mk")), {**os.environ, "OSVERSION": OSVERSION})
NO_MAKE = Make(("/nonexistent/make",), {})


def look(tree: Tree, *, ports_dir: Path | None = None, make: Make = MAKE) -> Survey:
    """What ``kpatch hook --ports-dir`` sees."""
    seen = survey(
        ports_dir or tree.ports_dir, make_conf=tree.make_conf, overlay=tree.overlay, make=make
    )
    return place.checked(seen, tree.overlay)


def rules(seen: Survey) -> set[str]:
    """The names of the traps that block."""
    return {trap.rule for trap in seen.traps if trap.blocks}


def repairs(tree: Tree) -> bool:
    """Whether a build repairs the module."""
    tree.make("clean", "build")
    return tree.module.is_file() and tree.module.read_text() == "repaired\n"


def own_uses(tree: Tree) -> None:
    tree.hook()
    tree.conf(f"OVERLAYS=\t{tree.overlay}")
    tree.edit("USES=\t\tkmod", "USES=\t\tkmod kpatch")


def copied_to_uses(tree: Tree) -> None:
    tree.hook()
    source = tree.overlay / "Mk" / "Uses" / "kpatch.mk"
    source.rename(tree.ports_dir / "Mk" / "Uses" / "kpatch.mk")
    tree.conf("emulators_kqemu-kmod_VARS=\tUSES+=kpatch")


def late_uses_followed(tree: Tree) -> None:
    tree.hook()
    late = ".include <bsd.port.options.mk>\nUSES=\t\tkmod kpatch\n"
    tree.edit("USES=\t\tkmod\n", late)


def included(tree: Tree) -> None:
    tree.hook()
    other = tree.root / "other.conf"
    other.write_text("\n".join(tree.lines) + "\n")
    tree.conf(f'.include "{other}"')


def condition_that_holds(tree: Tree) -> None:
    tree.hook()
    tree.conf(f".if ${{.CURDIR:M*/{ORIGIN}}}", *tree.lines, ".endif")


def condition_that_does_not(tree: Tree) -> None:
    tree.hook()
    tree.conf(".if ${.CURDIR:M*/elsewhere}", *tree.lines, ".endif")


def late_uses(tree: Tree) -> None:
    tree.hook()
    tree.edit("USES=\t\tkmod\n", ".include <bsd.port.options.mk>\nUSES=\t\tkmod\n")


def no_lines(tree: Tree) -> None:
    tree.hook()
    tree.conf()


def broken(tree: Tree) -> None:
    tree.hook()
    tree.edit(
        "do-build:", ".if ${OSVERSION} > 700000\nIGNORE=\tis marked as broken\n.endif\n\ndo-build:"
    )


def undone_by_name(tree: Tree) -> None:
    tree.hook("KPATCH_OSVERSION=\t1302001")
    tree.build_gives(Standing.NOT_AFFECTED)


def kernel_as_one_word(tree: Tree) -> None:
    kernel_file = tree.root / "kernel"
    kernel_file.write_bytes(kernel())
    tree.hook()
    tree.conf(*tree.lines[:2], "OSVERSION=\t1302001", f"KPATCH_FLAGS=\t--kernel={kernel_file}")


def with_fix(tree: Tree) -> None:
    tree.hook()
    files = tree.port / "files"
    files.mkdir()
    (files / "patch-tssworkaround").write_text("+static void kqemu_tss_workaround(void)\n")
    tree.build_gives(Standing.UNSOUND_SOURCE_FIX)


def with_fix_c(tree: Tree) -> None:
    """Its function has the name of fix B's; nothing is in the way, and nothing to repair."""
    tree.hook()
    (tree.port / "files").mkdir()
    fix = "+void kqemu_tss_fixup(unsigned long)\n+ if (mp_ncpus <= 1 || base != gdt)\n"
    (tree.port / "files" / "patch-tssworkaround").write_text(fix)


CASES: list[tuple[str, Callable[[Tree], None], set[str]]] = [
    ("modern", Tree.hook, set()),
    ("old", Tree.hook, set()),
    ("modern", own_uses, set()),
    ("modern", copied_to_uses, set()),
    ("modern", late_uses_followed, set()),
    ("modern", included, set()),
    ("modern", condition_that_holds, set()),
    ("modern", by_scripts, set()),
    ("modern", by_fragment, set()),
    ("old", by_fragment, set()),
    ("modern", condition_that_does_not, {"not-run"}),
    ("modern", late_uses, {"late-uses"}),
    ("modern", no_lines, {"no-overlay-line", "no-uses-line"}),
    ("modern", broken, {"ignored"}),
    ("modern", undone_by_name, {"other-kernel"}),
    ("modern", kernel_as_one_word, set()),
    ("modern", with_fix, {"source-fix"}),
    ("old", with_fix, {"source-fix"}),
    ("modern", with_fix_c, set()),
]


@pytest.mark.parametrize(
    ("era", "put", "blocking"), CASES, ids=[f"{era}-{put.__name__}" for era, put, _ in CASES]
)
def test_ready_is_what_the_next_build_does(
    tmp_path: Path, era: str, put: Callable[[Tree], None], blocking: set[str]
) -> None:
    tree = Tree(tmp_path, era)
    put(tree)
    seen = look(tree)
    assert rules(seen) == blocking
    assert seen.blocked == bool(blocking)
    assert repairs(tree) == (not blocking)


def test_a_port_with_the_fragment_gets_no_second_hook(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "old")
    by_fragment(tree)
    for make in (MAKE, NO_MAKE):
        seen = look(tree, make=make)
        assert [port.way for port in seen.ports] == [Way.FRAGMENT]
        assert place.needed(seen, tree.overlay) == ()


def test_without_a_make_the_text_is_read_and_the_survey_says_so(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "modern")
    own_uses(tree)
    seen = look(tree, make=NO_MAKE)
    assert "not-asked" in {trap.rule for trap in seen.traps}
    assert rules(seen) == {"no-kernel"}


def moved(tree: Tree, *, category: bool) -> Path:
    """The port in an overlay of one's own, as for a tree that no longer has it."""
    overlay = tree.root / "mine"
    (overlay / ORIGIN).parent.mkdir(parents=True)
    tree.port.rename(overlay / ORIGIN)
    tree.port = overlay / ORIGIN
    tree.work = tree.port / "work"
    tree.wrksrc = tree.work / "kqemu-1.0"
    if category:
        (overlay / "emulators" / "Makefile").write_text("SUBDIR += kqemu-kmod\n")
    return overlay


@pytest.mark.parametrize("by", ["overlay", "tree"])
@pytest.mark.parametrize("make", [MAKE, NO_MAKE], ids=["asked", "text"])
def test_a_port_in_an_overlay_is_understood(tmp_path: Path, by: str, make: Make) -> None:
    tree = Tree(tmp_path, "modern")
    tree.hook(f"OVERLAYS+=\t{tmp_path / 'mine'}")
    mine = moved(tree, category=True)
    seen = look(tree, ports_dir=mine if by == "overlay" else None, make=make)
    assert [port.folder for port in seen.ports] == [mine / ORIGIN]
    assert not seen.blocked, seen.traps
    assert repairs(tree)


def test_an_overlay_is_told_of_its_category_and_of_broken_lines(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "modern")
    tree.hook()
    mine = moved(tree, category=False)
    tree.edit("do-build:", ".if ${OSVERSION} > 1000015\nBROKEN=\tKPI changes\n.endif\n\ndo-build:")
    found = {trap.rule: trap for trap in look(tree, ports_dir=mine, make=NO_MAKE).traps}
    assert found["no-category"].todo == "write SUBDIR += kqemu-kmod"
    assert found["broken"].what.endswith('BROKEN= "KPI changes"')
    assert "broken" not in {trap.rule for trap in look(tree, ports_dir=mine).traps}


def test_an_overlay_whose_tree_is_nowhere_is_told_what_to_give(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "modern")
    mine = moved(tree, category=True)
    tree.make_conf.write_text("PORTSDIR=/nonexistent\n")
    with pytest.raises(UsageError, match="an overlay, and its ports tree is not at /nonexistent"):
        look(tree, ports_dir=mine)
