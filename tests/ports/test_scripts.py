"""What only scripts/ of a port does, and the fragment for maintainers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kpatch.ports import place
from kpatch.ports.tree import Method, survey
from tests.ports.harness import Tree

STEPS = '. "$SCRIPTDIR/kpatch.sh"\nkpatch_step apply\nkpatch_step verify\n'


@pytest.fixture
def old(tmp_path: Path) -> Tree:
    """A tree without overlays, not hooked yet."""
    return Tree(tmp_path, "old")


def test_a_current_tree_runs_the_scripts_too(tmp_path: Path) -> None:
    """The one way that fits both eras."""
    modern = Tree(tmp_path, "modern")
    ports = survey(modern.ports_dir).ports
    place.carry_out(place.plan_install(place.files_for(Method.SCRIPTS, ports, modern.overlay)))
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
    with_fragment(plain)
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
    with_fragment(plain)
    assert plain.make("package", FAKE_FAIL=failing).status != 0
    assert "build" not in plain.cookies()
    assert not plain.installed.exists()


def test_the_fragment_leaves_the_ports_own_targets_and_scripts_alone(plain: Tree) -> None:
    with_fragment(plain)
    plain.edit("do-install:", "post-build:\n\t@echo own target\n\ndo-install:")
    scripts = plain.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text("echo own script\n")
    done = plain.make("build")
    assert done.status == 0, done.log
    assert done.line("own target") < done.line("own script") < done.line("kpatch apply:")


def test_a_failing_script_of_the_port_fails_the_build_with_the_fragment(plain: Tree) -> None:
    with_fragment(plain)
    scripts = plain.port / "scripts"
    scripts.mkdir()
    (scripts / "post-build").write_text("exit 3\n")
    assert plain.make("build").status != 0
    assert "build" not in plain.cookies()


def with_fragment(tree: Tree) -> None:
    """Edit the port as the guide says."""
    files = tree.port / "files"
    files.mkdir()
    shutil.copy(place.fragment(), files / "kpatch.mk")
    last = ".include <bsd.port.post.mk>"
    tree.edit(last, '.include "${.CURDIR}/files/kpatch.mk"\n' + last)
