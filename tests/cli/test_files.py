"""What the files and folders on the command line stand for: kinds, links, order."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import schema
from tests.cli.harness import copied, environment, listing, names, patched_bytes, run, sample

_COMMANDS = pytest.mark.parametrize("command", ["scan", "apply", "diff", "revert", "verify"])


@_COMMANDS
def test_a_missing_file_is_exit_code_18(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / "missing.ko")
    assert (done.code, done.out) == (18, "")
    assert done.complaint == (
        f"kpatch: {tmp_path}/missing.ko: cannot read it: No such file or directory; check the name"
    )
    assert names(tmp_path) == []


def test_a_name_that_is_nearly_one_of_its_folder_is_asked_back(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    done = run("scan", tmp_path / "kqemu7.ko")
    assert done.complaint.endswith(f"No such file or directory; did you mean {path}?")
    done = run("scan", tmp_path / "nowhere" / "kqemu-7.ko")
    assert f"there is no folder {tmp_path}/nowhere (No such" in done.complaint
    (tmp_path / "link.ko").symlink_to("nowhere")
    done = run("scan", tmp_path / "link.ko")
    assert "it is a link to what is not there" in done.complaint and done.code == 18


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


def test_a_deleted_folder_under_the_feet_keeps_nobody_from_naming_a_file(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    script = (
        "import os, sys; from kpatch.cli import main; os.mkdir('gone'); os.chdir('gone'); "
        "os.rmdir('../gone'); sys.exit(main.run(sys.argv[1:]))"
    )
    done = subprocess.run(
        # -P: with the folder on its path Python 3.13.0 itself fails, importing socket.
        [sys.executable, "-P", "-c", script, "apply", "--no-verify", path],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == patched_bytes()


def test_a_compressed_module_under_the_name_of_a_plain_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko.gz"
    path.write_bytes(gzip.compress(sample("kqemu-7.ko").read_bytes()))
    for name, said in (("new.ko", True), ("new.ko.gz", False)):
        done = run("apply", "--no-verify", "-o", tmp_path / name, path)
        assert done.code == 0 and ("is compressed with gzip, as kqemu.ko.gz is" in done.err) == said


def test_a_link_into_a_folder_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    link = tmp_path / "new.ko"
    link.symlink_to("none/new.ko")
    done = run("apply", "--no-verify", "-o", link, path)
    assert (done.code, names(tmp_path)) == (18, ["kqemu-7.ko", "new.ko"])
    assert f"{tmp_path / 'none'}: there is no such folder; make it first" in done.complaint


def test_an_output_that_is_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop.name)
    done = run("apply", "--no-verify", "-o", loop, sample("kqemu-7.ko"))
    assert done.code == 18 and f"{loop}: it is a link that leads to no file" in done.err
    assert loop.is_symlink()
