"""Names, kinds, links and permissions of the files on the command line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from kpatch import repair
from kpatch.repair import Repaired
from tests.children import in_child
from tests.cli import schema
from tests.cli.harness import copied, kpatch, listing, look, names, patched_bytes, run, sample

NOBODY: Final = 65534

_COMMANDS = pytest.mark.parametrize("command", ["scan", "apply", "diff", "revert", "verify"])


@_COMMANDS
def test_a_missing_file_is_exit_code_18(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / "missing.ko")
    assert (done.code, done.out) == (18, "")
    assert done.complaint == (
        f"kpatch: {tmp_path}/missing.ko: cannot read it: No such file or directory; "
        "check the name and the permissions"
    )
    assert names(tmp_path) == []


@_COMMANDS
def test_a_file_that_cannot_be_reached_is_exit_code_18(command: str, tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path) / "inside.ko"
    done = run(command, path)
    assert (done.code, done.out) == (18, "")
    assert done.complaint.startswith(f"kpatch: {path}: cannot read it: Not a directory")


@_COMMANDS
def test_a_name_that_is_too_long_is_exit_code_18(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / ("n" * 300))
    assert done.code == 18 and "File name too long" in done.complaint


@_COMMANDS
def test_pipes_and_devices_are_refused_without_reading_them(command: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.ko"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), Path("/dev/null")):
        done = run(command, path)
        assert done.code == 18
        assert done.complaint == f"kpatch: {path}: it is not a file; name a file"


@_COMMANDS
def test_a_loop_of_links_is_exit_code_18(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.ko").symlink_to("b.ko")
    (tmp_path / "b.ko").symlink_to("a.ko")
    done = run(command, tmp_path / "a.ko")
    assert done.code == 18 and "symbolic links" in done.complaint


@_COMMANDS
def test_an_empty_file_is_no_elf_file(command: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.ko"
    path.touch()
    done = run(command, path)
    assert done.code == 10 and done.complaint.startswith(f"kpatch: {path}: ")


@_COMMANDS
def test_a_huge_file_is_refused_by_its_size(command: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.ko"
    with path.open("wb") as file:
        file.truncate(600 << 20)
    done = run(command, path)
    assert done.code == 18
    assert done.complaint == f"kpatch: {path}: it has more than 512 MiB; name a module"


@_COMMANDS
def test_a_folder_without_modules_is_no_success(command: str, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    done = run(command, tmp_path)
    assert done.code == 11 and "holds no module" in done.complaint


def test_a_folder_stands_for_the_modules_and_packages_in_it_in_order(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    expected = [
        copied("other.ko", tmp_path / "b" / "deep"),
        copied("kqemu-i386.ko", tmp_path / "b"),
        copied("kqemu-7.ko.gz", tmp_path),
        copied("kqemu-6.ko", tmp_path),
    ]
    for other in ("kernel", "kqemu.ko.orig.gz", "kqemu.ko.orig", "notes.ko.txt"):
        (tmp_path / other).write_bytes(b"not read")
    os.mkfifo(tmp_path / "pipe.ko")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    done = run("scan", "--json", tmp_path)
    schema.check(done.document, "scan", 1)
    found = [each["file"] for each in done.document["files"]]
    assert found == sorted(str(each) for each in expected)


def test_files_and_folders_keep_the_order_of_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    inside = copied("kqemu-6.ko", folder)
    last = copied("other.ko", tmp_path, "a.ko")
    done = run("scan", "--json", folder, last, inside)
    found = [each["file"] for each in done.document["files"]]
    assert found == [str(inside), str(last), str(inside)]


def test_apply_on_a_folder_repairs_what_needs_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one, two = copied("kqemu-7.ko", tmp_path), copied("kqemu-6.ko", tmp_path / "sub")
    done = run("apply", "--no-verify", "--no-copy", tmp_path)
    assert done.code == 0
    assert one.read_bytes() == patched_bytes()
    assert two.read_bytes() == patched_bytes("kqemu-6.ko")


def test_a_link_stays_a_link_and_its_target_is_repaired(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = copied("kqemu-7.ko", tmp_path / "real")
    link = tmp_path / "kqemu.ko"
    link.symlink_to("real/kqemu-7.ko")
    assert run("apply", "--no-verify", link).code == 0
    assert link.is_symlink() and target.read_bytes() == patched_bytes()
    assert names(tmp_path) == ["kqemu.ko", "real"]
    assert names(tmp_path / "real") == ["kqemu-7.ko", "kqemu-7.ko.orig.gz"]
    assert run("revert", link).code == 0
    assert link.is_symlink() and target.read_bytes() == sample("kqemu-7.ko").read_bytes()


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_file_with_two_names_is_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes() if command == "revert" else sample("kqemu-7.ko").read_bytes())
    (tmp_path / "second.ko").hardlink_to(path)
    without_proof = ["--no-verify"] if command == "apply" else []
    before = listing(tmp_path)
    done = run(command, *without_proof, path)
    assert done.code == 18 and "2 hard links" in done.complaint
    assert listing(tmp_path) == before
    assert run(command, *without_proof, "-o", tmp_path / "new.ko", path).code == 0


def test_a_dry_run_refuses_a_file_with_two_names_too(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    (tmp_path / "second.ko").hardlink_to(path)
    assert run("apply", "--dry-run", path).code == 18


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    path.chmod(0o4551)
    owner = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    path.chmod(0o4551)
    for command in (["apply", "--no-verify"], ["revert"]):
        before = path.stat()
        assert run(*command, path).code == 0
        after = path.stat()
        assert (after.st_uid, after.st_gid, after.st_mode) == (*owner, before.st_mode)
    copy = tmp_path / "kqemu-7.ko.orig.gz"
    assert (copy.stat().st_uid, copy.stat().st_mode & 0o7777) == (owner[0], 0o551)


def test_a_file_of_somebody_else_can_be_repaired_elsewhere(open_folder: Path) -> None:
    theirs, mine = open_folder / "theirs", open_folder / "mine"
    theirs.mkdir()
    mine.mkdir()
    path = copied("kqemu-7.ko", theirs)
    if os.geteuid() == 0:
        os.chown(mine, NOBODY, NOBODY)
    assert as_nobody("apply", "--no-verify", "-o", mine / "new.ko", path) == 0
    assert (mine / "new.ko").read_bytes() == patched_bytes()
    assert (mine / "new.ko").stat().st_uid == mine.stat().st_uid


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


def test_a_module_that_is_patched_already_is_copied_to_the_output(tmp_path: Path) -> None:
    path, new = tmp_path / "kqemu.ko", tmp_path / "new.ko"
    path.write_bytes(patched_bytes())
    done = run("apply", "-o", new, path)
    assert done == type(done)(0, "", f"{new}: patched already, and proven now; copied as it is\n")
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


@pytest.mark.parametrize("name", ["line\nbreak.ko", "\x1b[31mred\x1b[0m.ko", "rtl\u202eok.ko"])
def test_a_name_cannot_forge_a_line_or_steer_the_terminal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")  # where nothing folds
    path = copied("kqemu-7.ko", tmp_path, name)
    for call in (["scan"], ["diff"], ["diff", "-u"], ["apply", "--dry-run"]):
        done = run(*call, path)
        shown = done.out.replace("\n", "")
        assert done.code <= 1 and shown.isprintable(), call
        assert done.out.count("\n") == run(*call, sample("kqemu-7.ko")).out.count("\n")
    path.write_bytes(b"no module")
    done = run("apply", path)
    assert done.code == 10 and done.complaint.isprintable()


def test_a_symbol_cannot_forge_a_line_or_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    data = sample("kqemu-7.ko").read_bytes()
    assert data.count(b"\0kqemu_open\0") == 1
    path.write_bytes(data.replace(b"\0kqemu_open\0", b"\0kqe\x1b[2J\n+x\0"))
    for call in (["diff", "-u"], ["diff"]):
        done = run(*call, sample("kqemu-7.ko"), path)
        assert done.code == 1 and done.out.replace("\n", "").isprintable()
        assert "kqe\\x1b[2J\\n+x" in done.out


def test_a_name_that_is_no_utf_8_is_shown_and_used_as_it_is(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/k\xffq.ko"
    Path(os.fsdecode(name)).write_bytes(sample("kqemu-7.ko").read_bytes())
    for env in ({}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}):
        done = kpatch("scan", name, env=env)
        assert done.code == 1 and done.out.startswith(f"{tmp_path}/k\\xffq.ko: AFFECTED\n")
    assert kpatch("scan", "--json", name).code == 1
    done = kpatch("apply", "--no-verify", name)
    assert done.code == 0 and done.err.count("k\\xffq.ko") == 6
    assert names(tmp_path) == ["k\udcffq.ko", "k\udcffq.ko.orig.gz"]
    assert Path(os.fsdecode(name)).read_bytes() == patched_bytes()


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path, "kqem\u0142.ko")
    for encoding, shown in (("latin-1", r"kqem\u0142.ko"), ("utf-8", path.name)):
        done = kpatch("scan", path, env={"PYTHONIOENCODING": encoding})
        assert done.code == 1 and done.out.startswith(f"{tmp_path}/{shown}: AFFECTED\n")


def test_a_name_of_full_length_can_be_repaired_without_a_copy(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path, "n" * 252 + ".ko")
    before = listing(tmp_path)
    done = run("apply", "--no-verify", path)
    assert done.code == 18 and listing(tmp_path) == before
    assert run("apply", "--no-verify", "--no-copy", path).code == 0
    assert path.read_bytes() == patched_bytes()


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


def test_a_folder_that_cannot_be_listed_is_no_folder_without_modules(open_folder: Path) -> None:
    copied("other.ko", open_folder)
    closed = open_folder / "closed"
    closed.mkdir(mode=0)
    assert as_nobody("scan", open_folder) == 18
    assert run("scan", open_folder / "other.ko").code == 0


def test_a_folder_that_cannot_be_written_leaves_the_file_alone(open_folder: Path) -> None:
    path = copied("kqemu-7.ko", open_folder)
    path.chmod(0o666)
    open_folder.chmod(0o555)
    before = listing(open_folder)
    for options in ([], ["--no-copy"]):
        assert as_nobody("apply", "--no-verify", *options, path) == 18
    assert listing(open_folder) == before


def test_a_file_that_cannot_be_read_is_exit_code_18(open_folder: Path) -> None:
    path = copied("kqemu-7.ko", open_folder)
    path.chmod(0)
    for command in ("scan", "apply", "revert", "diff"):
        assert as_nobody(command, path) == 18


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches; the one of pytest is for its user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def as_nobody(*arguments: str | Path) -> int:
    """The exit code of a call without the rights of root."""
    run("apply", "--dry-run", sample("kqemu-7.ko"))  # so that what it imports is there

    def call() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os._exit(run(*arguments).code)

    return in_child(call)
