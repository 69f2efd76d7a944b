"""What only scripts/ of a port does, and the fragment for maintainers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.ports.harness import Tree, by_fragment, by_scripts, by_uses

STEPS = '. "$SCRIPTDIR/kpatch.sh"\nkpatch_step apply\nkpatch_step verify\n'


@pytest.fixture
def old(tmp_path: Path) -> Tree:
    """A tree without overlays, not hooked yet."""
    return Tree(tmp_path, "old")


def test_a_current_tree_runs_the_scripts_too(tmp_path: Path) -> None:
    """The one way that fits both eras."""
    modern = Tree(tmp_path, "modern")
    by_scripts(modern)
    done = modern.make("-j4", "package")
    assert done.status == 0, done.log
    assert done.line("kpatch verify: kqemu.ko: proven") < done.line("kpatch staged: kqemu.ko")
    assert modern.installed.read_text() == "repaired\n"


def test_a_script_of_the_port_can_call_the_steps(old: Tree) -> None:
    scripts = old.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text(f"echo the port first\n{STEPS}")
    old.hook()
    done = old.make("install")
    assert done.status == 0, done.log
    assert done.line("the port first") < done.line("kpatch apply: kqemu.ko: repaired")
    assert old.installed.read_text() == "repaired\n"


@pytest.mark.parametrize("era", ["old", "2014"])
def test_the_command_line_wins_under_the_make_of_old_releases(tmp_path: Path, era: str) -> None:
    """Its ``-V`` answers from make.conf all the same, as the first lines show."""
    tree = Tree(tmp_path, era)
    tree.old_make()
    tree.hook("KPATCH_FLAGS=\t--no-verify", "KPATCH_OSVERSION=\t600034", "KMODDIR=\t/boot/kernel")
    assert tree.make("-V", "KPATCH_FLAGS", "KPATCH_FLAGS=-v").log == "--no-verify\n"
    assert tree.make("-V", "KPATCH", "KPATCH=x").log == "x\n"
    assert "NOT VERIFIED (--no-verify)" in tree.make("build").log
    done = tree.make(
        "clean", "package", "KPATCH_FLAGS=", "KPATCH_OSVERSION=701000", "KMODDIR=/boot/modules"
    )
    assert done.status == 0, done.log
    done.line("kpatch verify: kqemu.ko: proven for 701000")
    done.line("kpatch staged: kqemu.ko: staged as built")
    assert tree.installed.read_text() == "repaired\n"


@pytest.mark.parametrize("jobs", [(), ("-j4",)], ids=["alone", "with jobs"])
def test_the_scripts_ask_the_make_that_runs_them(old: Tree, jobs: tuple[str, ...]) -> None:
    old.hook("KPATCH_OSVERSION=\t701000")
    (old.binaries / "make").unlink()
    old.script("make", "echo the wrong make >&2; exit 9")
    done = old.make(*jobs, "build", MAKE="make")
    assert done.status == 0, done.log
    assert "the wrong make" not in done.log
    done.line("kpatch verify: kqemu.ko: proven for 701000")


def test_values_with_blanks_and_quotes_reach_the_steps(old: Tree) -> None:
    old.hook("KPATCH_OSVERSION=\t7  'x'")
    done = old.make("build")
    assert done.status != 0
    assert "7  'x'" in done.log


@pytest.mark.parametrize("way", ["modern uses", "modern fragment", "old scripts"])
def test_flags_may_have_quotes_around_a_path_with_a_blank(tmp_path: Path, way: str) -> None:
    era, how = way.split()
    tree = Tree(tmp_path, era)
    {"fragment": by_fragment, "scripts": by_scripts, "uses": by_uses}[how](tree)
    done = tree.make("build", 'KPATCH_FLAGS=--kernel "my kernel" -v')
    assert done.status != 0
    assert "my kernel: cannot read it" in done.log, done.log
    assert tree.refused.exists() and not tree.module.exists()


@pytest.mark.parametrize("era", ["2014", "modern"])
@pytest.mark.parametrize("way", ["scripts", "fragment"])
def test_a_change_in_post_stage_is_not_packaged(tmp_path: Path, era: str, way: str) -> None:
    """post-install-script comes before post-stage: the log says it, the package is checked."""
    tree = Tree(tmp_path, era)
    {"fragment": by_fragment, "scripts": by_scripts}[way](tree)
    assert "packaged as built, SHA-256" in tree.make("package").log
    tree.edit(
        "do-package:", "post-stage:\n\t@cp ${BUILT} ${STAGEDIR}${KMODDIR}/kqemu.ko\n\ndo-package:"
    )
    done = tree.make("clean", "package")
    assert done.status != 0
    done.line("kpatch staged: post-stage of the port runs after this check")
    assert "the staged module is not repaired" in done.log
    assert not tree.installed.exists()
    assert not (tree.work / "package.tar").exists()


def test_such_a_script_fails_the_build_when_a_step_fails(old: Tree) -> None:
    scripts = old.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text(f"{STEPS}echo went on\n")
    old.hook()
    done = old.make("install", FAKE_FAIL="apply")
    assert done.status != 0
    assert "went on" not in done.log
    assert "build" not in old.cookies()


def test_a_script_run_by_hand_says_that_it_is_not_meant_for_that(old: Tree) -> None:
    old.hook()
    ran = subprocess.run(
        ["/bin/sh", str(old.port / "scripts" / "post-build")],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert ran.returncode != 0
    assert "the ports tree runs this script, nobody else" in ran.stderr


def test_a_tree_of_2010_ends_with_an_error_under_the_make_of_today(old: Tree) -> None:
    """Only with NO_IGNORE does a build run nothing and end with 0: the missing line tells."""
    old.hook()
    done = old.make("build", "OLD_MODIFIERS=yes")
    assert done.status == 1
    assert "improper use of USE_PERL5" in done.log
    assert "built kqemu.ko" not in done.log
    done = old.make("build", "OLD_MODIFIERS=yes", "NO_IGNORE=yes", "CONFIG_DONE=1")
    assert done.status == 0
    assert "built kqemu.ko" not in done.log
    assert old.cookies() == set()


@pytest.mark.parametrize("jobs", [(), ("-j4",)], ids=["alone", "with jobs"])
def test_the_fragment_repairs_proves_and_checks_in_both_eras(
    plain: Tree, jobs: tuple[str, ...]
) -> None:
    by_fragment(plain)
    done = plain.make(*jobs, "package")
    assert done.status == 0, done.log
    steps = [
        done.line(text)
        for text in (
            "kpatch apply: kqemu.ko: repaired",
            "kpatch verify: kqemu.ko: proven for 700055",
            "installed kqemu.ko",
            "kpatch staged: kqemu.ko: staged as built",
        )
    ]
    assert steps == sorted(steps)
    assert plain.installed.read_text() == "repaired\n"


@pytest.mark.parametrize("failing", ["apply", "verify"])
def test_the_fragment_fails_the_build_when_a_step_fails(plain: Tree, failing: str) -> None:
    by_fragment(plain)
    assert plain.make("package", FAKE_FAIL=failing).status != 0
    assert "build" not in plain.cookies()
    assert not plain.installed.exists()


def test_the_fragment_leaves_the_ports_own_targets_and_scripts_alone(plain: Tree) -> None:
    by_fragment(plain)
    plain.edit("do-install:", "post-build:\n\t@echo own target\n\ndo-install:")
    scripts = plain.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text("echo own script\n")
    done = plain.make("build")
    assert done.status == 0, done.log
    assert done.line("own target") < done.line("own script") < done.line("kpatch apply:")


def test_a_failing_script_of_the_port_fails_the_build_with_the_fragment(plain: Tree) -> None:
    by_fragment(plain)
    scripts = plain.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text("exit 3\n")
    assert plain.make("build").status != 0
    assert "build" not in plain.cookies()


@pytest.mark.parametrize("era", ["modern", "old"])
def test_with_the_fragment_the_other_ways_stay_out(tmp_path: Path, era: str) -> None:
    tree = Tree(tmp_path, era)
    tree.hook()
    by_fragment(tree)
    done = tree.make("package")
    assert done.status == 0, done.log
    done.line("kpatch apply:")
    done.line("kpatch verify:")
    done.line("kpatch staged: kqemu.ko:")
