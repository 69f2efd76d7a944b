"""The hook in real builds by bmake, in a tree of each era. Effects count, not the exit status."""

from __future__ import annotations

import subprocess

import pytest

from kpatch.ports.build import Standing
from tests.ports.harness import Tree, by_fragment, sha256

LAST = {"modern": "stage", "old": "install"}
REPAIRED = "repaired\n"


def test_without_the_hook_a_build_leaves_the_module_broken(plain: Tree) -> None:
    """The control: everything below is the hook's doing."""
    assert plain.make(LAST[plain.era]).status == 0
    assert plain.installed.read_text() == "affected\n"


@pytest.mark.parametrize("jobs", [(), ("-j4",)], ids=["alone", "with jobs"])
def test_a_build_repairs_proves_and_stages_in_that_order(
    hooked: Tree, jobs: tuple[str, ...]
) -> None:
    done = hooked.make(*jobs, "package")
    assert done.status == 0, done.log
    steps = [
        done.line(text)
        for text in (
            "built kqemu.ko",
            "kpatch apply: kqemu.ko: repaired",
            "kpatch verify: kqemu.ko: proven for 700055",
            "installed kqemu.ko",
            "kpatch staged: kqemu.ko: staged as built",
        )
    ]
    assert steps == sorted(steps)
    assert hooked.module.read_text() == REPAIRED
    assert sha256(hooked.installed) == sha256(hooked.module)
    assert {"build", LAST[hooked.era], "package"} <= hooked.cookies()


def test_the_package_carries_the_repaired_module(hooked: Tree) -> None:
    assert hooked.make("package").status == 0
    packed = subprocess.run(
        ["tar", "-xOf", str(hooked.work / "package.tar"), "./boot/modules/kqemu.ko"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert packed.stdout == REPAIRED


@pytest.mark.parametrize(
    ("failing", "jobs"),
    [("apply", ()), ("verify", ()), ("verify", ("-j4",)), ("silently", ())],
    ids=["apply", "verify", "verify with jobs", "silently"],
)
def test_a_failed_step_leaves_no_build_cookie_and_nothing_staged(
    hooked: Tree, failing: str, jobs: tuple[str, ...]
) -> None:
    done = hooked.make(*jobs, "package", FAKE_FAIL=failing)
    assert done.status != 0
    assert "kpatch: " in done.log
    assert hooked.cookies() == {"extract", "patch", "configure"}
    assert not hooked.installed.exists()


def test_a_rerun_after_a_failed_repair_works(hooked: Tree) -> None:
    assert hooked.make("package", FAKE_FAIL="apply").status != 0
    assert hooked.make("package").status == 0
    assert hooked.installed.read_text() == REPAIRED


def test_a_rerun_after_a_failed_proof_makes_the_module_anew_and_proves_it(hooked: Tree) -> None:
    """As in a real port, compiling again makes the module only where it is not there."""
    hooked.edit(
        "@cp ${BUILT} ${BUILD_WRKSRC}/kqemu.ko",
        "@test -e ${BUILD_WRKSRC}/kqemu.ko || \\\n\t    cp ${BUILT} ${BUILD_WRKSRC}/kqemu.ko",
    )
    assert hooked.make("package", FAKE_FAIL="verify").status != 0
    assert not hooked.module.exists()
    assert hooked.refused.read_text() == REPAIRED
    done = hooked.make("package")
    assert done.status == 0, done.log
    done.line("kpatch verify: kqemu.ko: proven for 700055")
    assert hooked.installed.read_text() == REPAIRED


@pytest.mark.parametrize("standing", [Standing.NOT_AFFECTED, Standing.SOUND_SOURCE_FIX])
def test_a_module_that_needs_no_repair_passes_untouched_with_one_line(
    hooked: Tree, standing: Standing
) -> None:
    hooked.build_gives(standing)
    done = hooked.make("package")
    assert done.status == 0, done.log
    done.line("kpatch apply: kqemu.ko: left as it is")
    done.line("kqemu.ko: ")
    assert sha256(hooked.installed) == sha256(hooked.root / "built.ko")


def test_an_unsound_source_fix_fails_the_build_with_advice(hooked: Tree) -> None:
    hooked.build_gives(Standing.UNSOUND_SOURCE_FIX)
    done = hooked.make("package")
    assert done.status != 0
    assert "source fix A" in done.log
    assert "remove that patch from files/" in done.log
    assert "build" not in hooked.cookies()


def test_a_file_that_is_no_known_module_fails_the_build(hooked: Tree) -> None:
    hooked.build_gives(b"something else\n")
    done = hooked.make("build")
    assert done.status != 0
    assert "not a module that kpatch knows" in done.log
    assert "build" not in hooked.cookies()


def test_a_stage_that_brings_an_unrepaired_module_fails(hooked: Tree) -> None:
    hooked.edit("@cp ${INSTALL_WRKSRC}/kqemu.ko", "@cp ${BUILT}")
    done = hooked.make("package")
    assert done.status != 0
    assert "the staged module is not repaired" in done.log
    assert LAST[hooked.era] not in hooked.cookies()
    assert "package" not in hooked.cookies()


def test_a_stage_that_brings_no_module_fails(hooked: Tree) -> None:
    hooked.edit("@cp ${INSTALL_WRKSRC}/kqemu.ko", "@echo not copied")
    done = hooked.make("package")
    assert done.status != 0
    assert "no file named kqemu.ko was staged" in done.log
    assert "package" not in hooked.cookies()


def test_the_hook_runs_after_the_ports_own_post_build(hooked: Tree) -> None:
    hooked.edit("do-install:", "post-build:\n\t@echo the port has the last word\n\ndo-install:")
    done = hooked.make("build")
    assert done.status == 0, done.log
    assert done.line("the port has the last word") < done.line("kpatch apply:")
    assert hooked.module.read_text() == REPAIRED


def test_a_makefile_local_does_not_keep_the_hook_out(hooked: Tree) -> None:
    """Such a file makes the tree run each phase in a make of its own."""
    (hooked.port / "Makefile.local").write_text("LOCAL=\tyes\n")
    done = hooked.make("-j4", "package")
    assert done.status == 0, done.log
    assert hooked.installed.read_text() == REPAIRED


def test_variables_reach_the_hook_from_make_conf(hooked: Tree) -> None:
    hooked.hook("KPATCH_FLAGS=\t--no-verify", "KPATCH_OSVERSION=\t800040x")
    done = hooked.make("build")
    assert done.status != 0
    assert "800040x" in done.log
    hooked.hook("KPATCH_FLAGS=\t--no-verify")
    done = hooked.make("build")
    assert "kpatch verify: kqemu.ko: NOT VERIFIED (--no-verify)" in done.log


def test_variables_reach_the_hook_from_the_command_line(hooked: Tree) -> None:
    assert "proven for 701000" in hooked.make("build", "KPATCH_OSVERSION=701000").log


def test_variables_reach_the_hook_from_the_environment(hooked: Tree) -> None:
    assert "proven for 602000" in hooked.make("build", KPATCH_OSVERSION="602000").log


def test_another_program_may_be_named(hooked: Tree) -> None:
    other = hooked.program("other-kpatch", ["echo", "the other program:"])
    done = hooked.make("build", f"KPATCH={other}")
    assert "the other program: hook apply" in done.log
    assert "kpatch apply" not in done.log


@pytest.mark.parametrize("way", ["hooked", "fragment"])
def test_an_empty_variable_means_the_default(plain: Tree, way: str) -> None:
    if way == "hooked":
        plain.hook()
    else:
        by_fragment(plain)
    done = plain.make("build", "KPATCH=", "KPATCH_OSVERSION=", "KPATCH_FLAGS=")
    assert done.status == 0, done.log
    done.line("kpatch verify: kqemu.ko: proven for 700055")


def test_the_fragment_without_names_takes_the_usual_module_away_too(plain: Tree) -> None:
    by_fragment(plain)
    assert plain.make("-k", "package", "KPATCH_FILES=", FAKE_FAIL="verify").log
    assert plain.refused.exists() and not plain.module.exists() and not plain.installed.exists()


def test_make_n_changes_nothing(hooked: Tree) -> None:
    before = sorted(hooked.root.rglob("*"))
    assert "hook apply" in hooked.make("-n", "build", "CONFIG_DONE=1").log or hooked.era == "old"
    assert sorted(hooked.root.rglob("*")) == before


def test_a_missing_program_fails_the_build(hooked: Tree) -> None:
    done = hooked.make("package", "KPATCH=kpatch-is-not-here")
    assert done.status != 0
    assert "build" not in hooked.cookies()
    assert not hooked.installed.exists()


def test_a_module_in_another_folder_of_the_build_is_found(hooked: Tree) -> None:
    hooked.edit(
        "@cp ${BUILT} ${BUILD_WRKSRC}/kqemu.ko",
        "@mkdir -p ${WRKDIR}/obj && cp ${BUILT} ${WRKDIR}/obj/kqemu.ko",
    )
    hooked.edit("@cp ${INSTALL_WRKSRC}/kqemu.ko", "@cp ${WRKDIR}/obj/kqemu.ko")
    done = hooked.make("package")
    assert done.status == 0, done.log
    assert hooked.installed.read_text() == REPAIRED


def test_two_modules_of_one_name_fail_the_build_until_one_is_named(hooked: Tree) -> None:
    hooked.edit(
        "@cp ${BUILT} ${BUILD_WRKSRC}/kqemu.ko",
        "@for f in a b; do mkdir ${WRKSRC}/$$f; cp ${BUILT} ${WRKSRC}/$$f/kqemu.ko; done",
    )
    hooked.edit("@cp ${INSTALL_WRKSRC}/kqemu.ko", "@cp ${WRKSRC}/b/kqemu.ko")
    done = hooked.make("package")
    assert done.status != 0
    assert "made 2 files named kqemu.ko: kqemu-1.0/a/kqemu.ko, kqemu-1.0/b/kqemu.ko" in done.log
    done = hooked.make("package", "KPATCH_FILES=b/kqemu.ko")
    assert done.status == 0, done.log
    assert hooked.installed.read_text() == REPAIRED
    assert (hooked.wrksrc / "a" / "kqemu.ko").read_text() == "affected\n"
