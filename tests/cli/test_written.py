"""Where a repaired file goes, and the copy of the original that is kept beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kpatch import repair
from kpatch.repair import Repaired
from kpatch.storage import replace
from tests.cli.harness import copied, listing, look, names, patched_bytes, run, sample
from tests.cli.little import prove_little


def test_output_goes_to_a_file_and_the_input_stays(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    path.chmod(0o555)
    before = look(path)
    done = run("apply", "--no-verify", "-o", tmp_path / "new.ko", path)
    assert done.code == 0
    assert done.err.startswith(f"{tmp_path}/new.ko: PATCHED, NOT VERIFIED (--no-verify)\n")
    assert f"undo kpatch revert {tmp_path}/new.ko; {path} is as it was" in " ".join(
        done.err.split()
    )
    assert look(path) == before and names(tmp_path) == ["kqemu-7.ko", "new.ko"]
    assert look(tmp_path / "new.ko").data == patched_bytes()
    assert look(tmp_path / "new.ko").mode == 0o555


def test_output_goes_to_a_folder_under_the_same_names(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kqemu-6.ko").write_bytes(b"an older one")
    before = {each: look(sample(each)) for each in ("kqemu-6.ko", "kqemu-7.ko")}
    assert run("apply", "--no-verify", "-o", out, *map(sample, before)).code == 0
    assert {each: look(sample(each)) for each in before} == before
    assert {each: look(out / each).data for each in names(out)} == {
        each: patched_bytes(each) for each in before
    }
    again = tmp_path / "again"
    again.mkdir()
    assert run("revert", "-o", again, out).code == 0
    assert {each: look(again / each).data for each in names(again)} == {
        each: seen.data for each, seen in before.items()
    }


def test_the_kept_copy_of_an_original_is_no_file_to_patch(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    assert run("apply", "-q", "--no-verify", path).code == 0
    copy, before = tmp_path / "kqemu-7.ko.orig.gz", listing(tmp_path)
    said = run("scan", copy).out
    assert "the copy of the original that kpatch keeps of kqemu-7.ko\n  next: nothing; " in said
    assert "kpatch apply" not in said
    done = run("apply", "--no-verify", copy)
    assert (done.code, listing(tmp_path)) == (2, before)
    assert "that kpatch keeps of kqemu-7.ko; to patch it write to another place" in done.complaint
    assert run("apply", "--no-verify", "-o", tmp_path / "new.ko.gz", copy).code == 0
    assert run("revert", copy).code == 11


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../second.ko", "which is to be left alone"),
        ("second.ko", "-o would write both"),
    ],
)
@pytest.mark.parametrize("command", [["apply", "--no-verify"], ["revert"]])
def test_a_link_in_the_folder_leads_to_no_other_file_of_the_call(
    command: list[str], target: str, said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = [copied("kqemu-7.ko", tmp_path, each) for each in ("first.ko", "second.ko")]
    (out / "first.ko").symlink_to(target)
    before = listing(tmp_path)
    done = run(*command, "-o", out, *files)
    assert (done.code, listing(tmp_path)) == (2, before) and said in done.complaint


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_new_page_is_for_the_user_to_say(
    umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        replace(tmp_path / "page.html", b"text")
    finally:
        os.umask(before)
    assert look(tmp_path / "page.html").mode == mode


def test_a_module_that_is_patched_already_is_copied_to_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove_little(monkeypatch)
    path, new = tmp_path / "kqemu.ko", tmp_path / "new.ko"
    path.write_bytes(patched_bytes())
    done = run("apply", "-o", new, path)
    bounds = "4 explorations (2 CPUs; memory models sc and tso)"
    said = f"{new}: patched already, and proven now in {bounds}; copied as it is\n"
    assert done == type(done)(0, "", said)
    assert new.read_bytes() == patched_bytes()


def test_output_through_a_link_writes_its_target(tmp_path: Path) -> None:
    for name in ("there.ko", "absent.ko"):
        (tmp_path / f"to-{name}").symlink_to(name)
    (tmp_path / "there.ko").write_bytes(b"older")
    for name in ("there.ko", "absent.ko"):
        output = tmp_path / f"to-{name}"
        assert run("apply", "--no-verify", "-o", output, sample("kqemu-7.ko")).code == 0
        assert output.is_symlink() and (tmp_path / name).read_bytes() == patched_bytes()


def test_output_never_replaces_what_is_not_a_plain_file(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    pipe, twice = tmp_path / "pipe", tmp_path / "twice"
    os.mkfifo(pipe)
    twice.write_bytes(b"one file")
    (tmp_path / "thrice").hardlink_to(twice)
    (tmp_path / "to-pipe").symlink_to("pipe")
    for output in (pipe, twice, tmp_path / "to-pipe"):
        before = output.lstat()
        for call in (["apply", "--no-verify", "-o"], ["verify", "--cpus=2", "--trace"]):
            assert run(*call, output, path).code == 18
        after = output.lstat()
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_folder_that_is_not_there_is_exit_code_18(tmp_path: Path) -> None:
    done = run("apply", "--no-verify", "-o", tmp_path / "no" / "new.ko", sample("kqemu-7.ko"))
    assert done.code == 18
    assert f"{tmp_path}/no: there is no such folder" in done.complaint


def test_the_original_is_kept_beside_the_file(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    done = run("apply", "--no-verify", path)
    copy = tmp_path / "kqemu-7.ko.orig.gz"
    assert f"the original is also kept in {copy}" in " ".join(done.err.split())
    opened = copied("kqemu-7.ko", tmp_path, "compare.ko")
    assert run("diff", copy, opened).code == 0


def test_an_older_copy_that_differs_is_not_overwritten(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    older = tmp_path / "kqemu-7.ko.orig.gz"
    older.write_bytes(b"an older original")
    before = look(older)
    assert run("apply", "--no-verify", path).code == 0
    assert look(older) == before
    (new,) = set(names(tmp_path)) - {"kqemu-7.ko", older.name}
    assert new == "kqemu-7.ko.fcab0130.orig.gz"  # the first digits of the sample's SHA-256
    assert run("diff", tmp_path / new, sample("kqemu-7.ko")).code == 0


def test_the_same_copy_is_not_written_again(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    run("apply", "--no-verify", path)
    before = look(tmp_path / "kqemu-7.ko.orig.gz")
    run("revert", path)
    run("apply", "--no-verify", path)
    assert look(tmp_path / "kqemu-7.ko.orig.gz") == before
    assert len(names(tmp_path)) == 2


def test_a_file_that_somebody_changes_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied("kqemu-7.ko", tmp_path)

    original = repair.apply

    def build_again(*arguments: Any, **options: Any) -> Repaired:
        done = original(*arguments, **options)
        path.write_bytes(b"a newer build")
        return done

    monkeypatch.setattr(repair, "apply", build_again)
    done = run("apply", "--no-verify", "--no-copy", path)
    assert done.code == 18 and "somebody else changed it" in done.complaint
    assert path.read_bytes() == b"a newer build" and names(tmp_path) == [path.name]
