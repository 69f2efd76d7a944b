"""The survey sees what a tree can do, and what would keep the hook from working."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.errors import FileAccessError, UsageError
from kpatch.ports import place
from kpatch.ports.makefile import read
from kpatch.ports.tree import Method, Survey, survey
from tests.ports.harness import ORIGIN, Tree

KERNEL = "KPATCH_OSVERSION=\t700055"


def look(tree: Tree) -> Survey:
    """The survey with the tree's own make.conf and overlay."""
    return survey(tree.ports_dir, make_conf=tree.make_conf, overlay=tree.overlay)


def rules(seen: Survey) -> set[str]:
    """The names of the traps."""
    return {trap.rule for trap in seen.traps}


@pytest.fixture
def modern(tmp_path: Path) -> Tree:
    """A tree with overlays."""
    return Tree(tmp_path, "modern")


@pytest.fixture
def old(tmp_path: Path) -> Tree:
    """A tree without."""
    return Tree(tmp_path, "old")


def test_a_hooked_tree_has_no_traps(hooked: Tree) -> None:
    seen = look(hooked)
    assert seen.traps == ()
    assert not seen.blocked


def test_the_method_follows_from_what_the_tree_can_do(modern: Tree) -> None:
    assert look(modern).method is Method.OVERLAY
    framework = modern.ports_dir / "Mk" / "bsd.port.mk"
    text = framework.read_text()
    framework.write_text(text.replace("OVERLAYS", "NOTHING"))
    assert look(modern).method is Method.SCRIPTS
    framework.write_text(text.replace("OVERLAYS", "NOTHING").replace("-script", "-none"))
    seen = look(modern)
    assert seen.method is None
    assert seen.blocked
    assert "no-way-in" in rules(seen)


def test_an_old_tree_gets_scripts(old: Tree) -> None:
    seen = look(old)
    assert seen.method is Method.SCRIPTS
    assert seen.era.startswith("2008 to 2015")


@pytest.mark.parametrize(
    "text",
    [
        ".    for var in ${${PKGORIGIN:S/\\//_/}_VARS:C/=.*//:O:u}\n",
        "X=\t${${PKGORIGIN:S,/,_,}_VARS}\n",
    ],
)
def test_variables_of_an_origin_are_seen_as_real_trees_write_them(old: Tree, text: str) -> None:
    framework = old.ports_dir / "Mk" / "bsd.port.mk"
    framework.write_text("A=\t${OVERLAYS:C,$,/Mk/Uses,} ${_USES_build}\n" + text)
    assert look(old).method is Method.OVERLAY


def test_overlays_without_variables_of_an_origin_are_not_enough(old: Tree) -> None:
    framework = old.ports_dir / "Mk" / "bsd.port.mk"
    framework.write_text(framework.read_text() + "A=\t${OVERLAYS} ${_USES_build}\n")
    assert look(old).method is Method.SCRIPTS


def test_an_ability_that_only_a_comment_names_does_not_count(old: Tree) -> None:
    framework = old.ports_dir / "Mk" / "bsd.port.mk"
    text = "# ${OVERLAYS} _USES_build ${PKGORIGIN}_VARS\n"
    framework.write_text(framework.read_text() + text)
    assert look(old).method is Method.SCRIPTS


def test_a_make_conf_without_the_lines_blocks(modern: Tree) -> None:
    seen = look(modern)
    assert rules(seen) == {"no-overlay-line", "no-uses-line", "no-kernel"}
    assert seen.blocked


def test_a_make_conf_that_is_not_there_blocks(modern: Tree) -> None:
    modern.hook()
    modern.make_conf.unlink()
    assert look(modern).blocked


def test_a_line_that_is_a_comment_does_not_count(modern: Tree) -> None:
    modern.hook()
    text = modern.make_conf.read_text()
    modern.make_conf.write_text(text.replace("OVERLAYS+=", "#OVERLAYS+="))
    assert rules(look(modern)) == {"no-overlay-line"}


def test_uses_in_make_conf_is_named_as_the_trap_that_it_is(modern: Tree) -> None:
    modern.conf(KERNEL, f"OVERLAYS=\t{modern.overlay}", "USES+=\tkpatch")
    seen = look(modern)
    assert rules(seen) == {"uses-overwritten", "no-uses-line"}
    trap = next(trap for trap in seen.traps if trap.rule == "uses-overwritten")
    assert trap.where == f"{modern.make_conf}:5"
    assert "emulators_kqemu-kmod_VARS= USES+=kpatch" in trap.todo


@pytest.mark.parametrize("value", ["USES+=kpatch", "A=b USES+=kpatch:x.ko", 'USES+="kpatch"'])
def test_the_line_may_have_arguments_and_company(modern: Tree, value: str) -> None:
    modern.conf(KERNEL, f"OVERLAYS=\t{modern.overlay}", f"emulators_kqemu-kmod_VARS=\t{value}")
    assert rules(look(modern)) == set()


@pytest.mark.parametrize(
    ("line", "trap"),
    [
        ("emulators_kqemu-kmod_VARS=\tX=1", {"no-uses-line"}),
        ("emulators_kqemu-kmod_VARS+=\tX=1", set()),
        ("emulators_kqemu-kmod_VARS?=\tX=1", set()),
        ("OVERLAYS=\t/elsewhere", {"no-overlay-line"}),
        ("OVERLAYS+=\t/elsewhere", set()),
    ],
)
def test_later_lines_count_as_make_counts_them(modern: Tree, line: str, trap: set[str]) -> None:
    modern.hook(line)
    assert rules(look(modern)) == trap
    assert ("Repairing" in modern.make("build").log) == (not trap)


def test_a_slash_behind_the_overlay_makes_no_difference(modern: Tree) -> None:
    modern.conf(KERNEL, f"OVERLAYS=\t{modern.overlay}/", "emulators_kqemu-kmod_VARS=\tUSES+=kpatch")
    assert rules(look(modern)) == set()


def test_a_line_of_another_port_does_not_count(modern: Tree) -> None:
    modern.conf(KERNEL, f"OVERLAYS=\t{modern.overlay}", "emulators_qemu_VARS=\tUSES+=kpatch")
    assert rules(look(modern)) == {"no-uses-line"}


def test_a_port_that_sets_uses_too_late_blocks(modern: Tree) -> None:
    modern.hook()
    modern.edit("USES=\t\tkmod\n", ".include <bsd.port.options.mk>\nUSES=\t\tkmod\n")
    seen = look(modern)
    assert rules(seen) == {"late-uses"}
    assert seen.blocked
    modern.edit("USES=\t\tkmod\n", "USES+=\t\tkmod\n")
    assert rules(look(modern)) == set()


def test_a_post_build_of_the_port_is_a_note(hooked: Tree) -> None:
    hooked.edit("do-install:", "post-build: do-build\n\t@true\n\ndo-install:")
    seen = look(hooked)
    assert rules(seen) == {"own-post-build"}
    assert not seen.blocked


def test_a_post_build_in_makefile_local_is_named(hooked: Tree) -> None:
    (hooked.port / "Makefile.local").write_text("pre-build post-build:\n\t@true\n")
    seen = look(hooked)
    assert rules(seen) == {"local-post-build"}
    assert not seen.blocked


def test_assignments_are_not_targets(hooked: Tree) -> None:
    hooked.edit("do-install:", "post-build:=\tx\npost-build=\ty\ndo-install:")
    assert rules(look(hooked)) == set()


def test_a_script_of_the_port_blocks_where_ours_would_go(old: Tree) -> None:
    (old.port / "scripts").mkdir()
    (old.port / "scripts" / "post-build").write_text("echo mine\n")
    seen = look(old)
    assert rules(seen) == {"script-in-the-way"}
    assert seen.blocked
    (old.port / "scripts" / "post-build").write_text("echo mine\nkpatch_step apply\n")
    assert not look(old).blocked


def test_a_comment_that_names_the_step_is_not_a_call(old: Tree) -> None:
    (old.port / "scripts").mkdir()
    (old.port / "scripts" / "post-build").write_text("# kpatch_step apply\n")
    assert look(old).blocked


def test_a_script_of_the_port_is_a_note_for_the_overlay(modern: Tree) -> None:
    modern.hook()
    (modern.port / "scripts").mkdir()
    (modern.port / "scripts" / "post-build").write_text("echo mine\n")
    seen = look(modern)
    assert rules(seen) == {"own-script"}
    assert not seen.blocked


def test_both_methods_at_once_are_a_note(modern: Tree) -> None:
    modern.hook()
    files = place.files_for(Method.SCRIPTS, look(modern).ports, modern.overlay)
    place.carry_out(place.plan_install(files))
    seen = look(modern)
    assert rules(seen) == {"hooked-twice"}
    assert not seen.blocked


def test_old_modifiers_are_named(old: Tree) -> None:
    """The play tree has one such line, for the test that shows what it does."""
    framework = old.ports_dir / "Mk" / "bsd.port.mk"
    assert "old-modifiers" not in rules(look(old))
    framework.write_text(framework.read_text() + "${target}: ${${target:U}_COOKIE}\n")
    seen = look(old)
    assert rules(seen) == {"old-modifiers"}
    assert not seen.blocked


def test_a_port_made_from_another_gets_the_scripts_of_its_master(old: Tree) -> None:
    devel = old.ports_dir / "emulators" / "kqemu-kmod-devel"
    devel.mkdir()
    (devel / "Makefile").write_text(
        'MASTERDIR=\t${.CURDIR}/../kqemu-kmod\n.include "${MASTERDIR}/Makefile"\n'
    )
    seen = look(old)
    assert [port.origin for port in seen.ports] == [ORIGIN, "emulators/kqemu-kmod-devel"]
    assert {port.scripts for port in seen.ports} == {old.port / "scripts"}
    assert rules(seen) == {"master-port"}
    assert len(place.files_for(Method.SCRIPTS, seen.ports, old.overlay)) == 4


def test_a_folder_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a ports tree"):
        survey(tmp_path)


def test_a_tree_without_the_ports_is_refused(modern: Tree) -> None:
    (modern.port / "Makefile").unlink()
    with pytest.raises(UsageError, match="neither emulators/kqemu-kmod nor"):
        survey(modern.ports_dir)


@pytest.mark.parametrize("origin", ["kqemu", "../x", "a/..", "emulators/", "/etc/x", "a/b/c", ""])
def test_an_origin_that_is_none_is_refused(modern: Tree, origin: str) -> None:
    with pytest.raises(UsageError, match="not the origin of a port"):
        survey(modern.ports_dir, origins=[origin])


def test_a_port_that_is_not_there_is_refused(modern: Tree) -> None:
    with pytest.raises(UsageError, match="no port emulators/other"):
        survey(modern.ports_dir, origins=["emulators/other"])


def test_a_makefile_of_any_bytes_is_read(modern: Tree) -> None:
    (modern.port / "Makefile.local").write_bytes(bytes(range(256)) + b"\\\n\\")
    assert look(modern).ports


@pytest.mark.parametrize("unit", [" ", "a ", "${PKGORIGIN", "\\\n", ":", "#", "\t\n", "USES+"])
def test_a_makefile_of_one_thing_over_and_over_is_read(modern: Tree, unit: str) -> None:
    """Each of these would take a careless pattern hours."""
    (modern.port / "Makefile.local").write_text(unit * ((900 << 10) // len(unit)))
    framework = modern.ports_dir / "Mk" / "bsd.port.mk"
    framework.write_text(framework.read_text() + unit * ((900 << 10) // len(unit)))
    assert look(modern).ports


def test_a_giant_makefile_is_refused(modern: Tree) -> None:
    with (modern.port / "Makefile").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(FileAccessError, match="has more than 1 MiB"):
        look(modern)


def test_an_unreadable_makefile_is_refused_by_name(modern: Tree) -> None:
    with pytest.raises(FileAccessError, match="cannot be read: Is a directory"):
        read(modern.port)


def test_a_survey_writes_nothing(plain: Tree) -> None:
    before = {path: path.stat().st_mtime_ns for path in plain.root.rglob("*")}
    look(plain)
    assert {path: path.stat().st_mtime_ns for path in plain.root.rglob("*")} == before
