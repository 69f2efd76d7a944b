"""The steps and the search for files, without a make around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kpatch.errors import AlreadyFixedError, UnknownModuleError, UsageError, VerificationError
from kpatch.ports import build, locate
from kpatch.ports.build import Examined, Report, Shown, Standing, Workshop
from kpatch.ports.locate import Folders
from kpatch.report.hook_documents import step

Step = Callable[[Sequence[str], Folders, Workshop], Iterator[Report]]


_A_PROOF: Any = object()
"""The steps only hand it on."""


class Bench:
    """A workshop whose modules are words, and which notes what it was asked."""

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest
        self.asked: list[str] = []

    def examine(self, path: Path) -> Examined:
        """The standing that the file spells, up to the first blank."""
        return Examined(Standing(path.read_text().split()[0]), "for a reason")

    def apply(self, path: Path) -> None:
        """Repair, or only say so."""
        self.asked.append("apply")
        if self.honest:
            path.write_text(Standing.REPAIRED.value)

    def verify(self, path: Path) -> Shown:
        """Always proven."""
        self.asked.append("verify")
        return Shown("proven", _A_PROOF)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Empty folders of a build."""
    made = Folders(tmp_path, tmp_path / "src", tmp_path / "stage")
    made.wrksrc.mkdir()
    made.stagedir.mkdir()
    return made


def put(path: Path, standing: Standing, more: str = "") -> Path:
    """A play module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{standing.value}{more}")
    return path


def test_apply_asserts_that_the_file_is_repaired(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.AFFECTED)
    with pytest.raises(VerificationError, match="the repair did not reach the file"):
        list(build.apply(["a.ko"], folders, Bench(honest=False)))


def test_apply_leaves_a_repaired_module_alone(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.REPAIRED)
    bench = Bench()
    (report,) = build.apply(["a.ko"], folders, bench)
    assert bench.asked == []
    assert report.line == "a.ko: repaired before, left as it is (for a reason)"


def test_verify_refuses_a_module_that_needs_the_repair(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.AFFECTED)
    bench = Bench()
    with pytest.raises(VerificationError, match="the built module is not repaired"):
        list(build.verify(["a.ko"], folders, bench))
    assert bench.asked == []


@pytest.mark.parametrize("standing", [Standing.NOT_AFFECTED, Standing.SOUND_SOURCE_FIX])
def test_nothing_is_proven_of_a_module_that_needs_no_repair(
    folders: Folders, standing: Standing
) -> None:
    put(folders.wrksrc / "a.ko", standing)
    bench = Bench()
    (report,) = build.verify(["a.ko"], folders, bench)
    assert bench.asked == []
    assert report.standing is standing
    assert report.line == ""


@pytest.mark.parametrize("step", [build.apply, build.verify, build.staged])
def test_an_unsound_source_fix_is_refused(folders: Folders, step: Step) -> None:
    put(folders.wrksrc / "a.ko", Standing.UNSOUND_SOURCE_FIX)
    put(folders.stagedir / "a.ko", Standing.UNSOUND_SOURCE_FIX)
    with pytest.raises(AlreadyFixedError, match="remove that patch from files/"):
        list(step(["a.ko"], folders, Bench()))


def test_equal_bytes_in_the_stage_need_no_second_proof(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.REPAIRED)
    put(folders.stagedir / "boot" / "a.ko", Standing.REPAIRED)
    bench = Bench()
    (report,) = build.staged(["a.ko"], folders, bench)
    assert bench.asked == []
    assert report.line == f"a.ko: staged as built, SHA-256 {report.sha256}"


def test_other_bytes_in_the_stage_are_proven_again(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.REPAIRED)
    put(folders.stagedir / "a.ko", Standing.REPAIRED, " stripped")
    bench = Bench()
    (report,) = build.staged(["a.ko"], folders, bench)
    assert bench.asked == ["verify"]
    assert report.line == "a.ko: staged with other bytes than built, proven"


def test_every_staged_file_of_the_name_is_checked(folders: Folders) -> None:
    put(folders.wrksrc / "a.ko", Standing.REPAIRED)
    put(folders.stagedir / "one" / "a.ko", Standing.REPAIRED)
    put(folders.stagedir / "two" / "a.ko", Standing.AFFECTED)
    with pytest.raises(VerificationError) as caught:
        list(build.staged(["a.ko"], folders, Bench()))
    assert caught.value.where.endswith("two/a.ko")


def test_the_report_hashes_the_file_as_it_is_afterwards(folders: Folders) -> None:
    path = put(folders.wrksrc / "a.ko", Standing.AFFECTED)
    (report,) = build.apply(["a.ko"], folders, Bench())
    path.write_text("repaired")
    assert report.sha256 == build._sha256(path)
    assert step(report)["standing"] == "repaired"


def test_the_source_folder_comes_first(folders: Folders) -> None:
    put(folders.wrkdir / "obj" / "a.ko", Standing.AFFECTED)
    first = put(folders.wrksrc / "a.ko", Standing.AFFECTED)
    assert locate.built("a.ko", folders) == first


def test_the_stage_is_not_searched_for_what_was_built(folders: Folders) -> None:
    put(folders.stagedir / "boot" / "a.ko", Standing.AFFECTED)
    with pytest.raises(UnknownModuleError, match=r"made no file named a\.ko"):
        locate.built("a.ko", folders)


def test_links_into_other_trees_are_not_followed(folders: Folders, tmp_path: Path) -> None:
    put(tmp_path.parent / "elsewhere" / "a.ko", Standing.AFFECTED)
    (folders.wrksrc / "sys").symlink_to(tmp_path.parent / "elsewhere")
    (folders.wrkdir / "a.ko").symlink_to(tmp_path.parent / "elsewhere" / "a.ko")
    with pytest.raises(UnknownModuleError):
        locate.built("a.ko", folders)


def test_a_name_with_a_folder_is_not_searched_for(folders: Folders) -> None:
    put(folders.wrksrc / "x" / "sub" / "a.ko", Standing.AFFECTED)
    with pytest.raises(UnknownModuleError):
        locate.built("sub/a.ko", folders)


@pytest.mark.parametrize("name", ["", "/etc/a.ko", "../a.ko", "x/../../a.ko", "a\0.ko"])
def test_names_that_leave_the_work_folder_are_refused(folders: Folders, name: str) -> None:
    with pytest.raises(UsageError):
        locate.built(name, folders)
    with pytest.raises(UsageError):
        locate.staged(name, folders)
