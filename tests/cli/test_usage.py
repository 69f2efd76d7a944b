"""What does not fit together on the command line: exit code 2, one line, or one document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import schema
from tests.cli.harness import COMMANDS, copied, kpatch, listing, run, sample

_MODULE = str(sample("kqemu-7.ko"))
_WRONG = [
    (["--nonsense"], "kpatch --help"),
    (["nonsense"], "kpatch --help"),
    *(([command, "--nonsense"], f"kpatch {command} --help") for command in COMMANDS),
    *(([command], f"kpatch {command} --help") for command in COMMANDS if command != "hook"),
    (["diff", _MODULE, _MODULE, _MODULE], "kpatch diff --help"),
    (["scan", "--color", "sometimes", _MODULE], "kpatch scan --help"),
    (["scan", ""], "name a file"),
    (["apply", "--no-verify", ""], "name a file"),
    (["apply", "-o", "", _MODULE], "name a file"),
    (["scan", "--kernel", "", _MODULE], "name a file"),
    (["scan", "-"], "./-"),
    (["apply", "-o", "-", _MODULE], "./-"),
    (["scan", "--osversion", "7.0", _MODULE], "sysctl"),
    (["apply", "--osversion", "-1", _MODULE], "sysctl"),
    (["diff", "--osversion", "", _MODULE], "sysctl"),
    (["verify", "--cpus", "two", _MODULE], "as 2,4,16"),
    (["verify", "--cpus", "17", _MODULE], ""),
    (["verify", "--model", "weak", _MODULE], "kpatch verify --help"),
    (["verify", "--scenario", "nonsense", _MODULE], ""),
    (["verify", "--max-states", "0", _MODULE], "kpatch verify --help"),
    (["hook", "nonsense"], "kpatch hook --help"),
]
_CASES = pytest.mark.parametrize(("arguments", "advice"), _WRONG, ids=lambda each: str(each)[-40:])


@_CASES
def test_wrong_usage_is_exit_code_2_and_one_line(arguments: list[str], advice: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.startswith("kpatch: ")
    assert advice in done.complaint


@_CASES
def test_wrong_usage_is_a_document_too(arguments: list[str], advice: str) -> None:
    done = run(arguments[0], "--json", *arguments[1:])
    assert (done.code, done.err) == (2, "")
    command = arguments[0] if arguments[0] in COMMANDS else ""
    schema.check(done.document, command, 2)
    assert done.document["error"]["error"] == "usage"
    assert advice in done.document["error"]["todo"]


def test_a_file_may_have_the_name_of_an_option(tmp_path: Path) -> None:
    copied("other.ko", tmp_path, "--json")
    done = kpatch("scan", "--", "--json", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("--json: NOT-KQEMU\n")
    done = kpatch("diff", "--", "--json", "missing", cwd=tmp_path)
    assert (done.code, done.out) == (18, "")
    assert done.complaint.startswith("kpatch: missing: cannot read it")


def test_two_files_that_would_become_one_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    for folder in ("a", "b", "out"):
        (tmp_path / folder).mkdir()
    one, two = (copied("kqemu-7.ko", tmp_path / folder, "kqemu.ko") for folder in ("a", "b"))
    before = listing(tmp_path)
    for command in ("apply", "revert"):
        done = run(command, "-o", tmp_path / "out", one, two)
        assert done.code == 2
        assert f"both {one} and {two}" in done.complaint
    assert listing(tmp_path) == before


def test_several_files_into_one_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    one, two = (copied("kqemu-7.ko", tmp_path, name) for name in ("a.ko", "b.ko"))
    before = listing(tmp_path)
    for command in ("apply", "revert"):
        done = run(command, "-o", tmp_path / "out.ko", one, two)
        assert done.code == 2 and "make the folder first" in done.complaint
    assert listing(tmp_path) == before


def test_output_into_the_file_itself_is_refused_whatever_its_name(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    (tmp_path / "link.ko").symlink_to("kqemu-7.ko")
    before = listing(tmp_path)
    for output in (path, tmp_path, tmp_path / "link.ko", tmp_path / "." / path.name):
        for dry in ([], ["--dry-run"]):
            done = run("apply", "--no-verify", *dry, "-o", output, path)
            assert done.code == 2 and "leave -o out" in done.complaint
    assert listing(tmp_path) == before


def test_an_option_before_the_command_is_told_its_place() -> None:
    done = run("-q", "scan", _MODULE)
    assert (done.code, done.complaint) == (
        2,
        "kpatch: no such option '-q'; options go behind the command: kpatch scan -q",
    )
    error = run("--json", "scan", _MODULE).document["error"]
    assert error["todo"] == "options go behind the command: kpatch scan --json"


def test_a_file_that_looks_like_an_option_is_told_its_name(tmp_path: Path) -> None:
    copied("other.ko", tmp_path, "-x.ko")
    done = kpatch("scan", "-x.ko", cwd=tmp_path)
    assert (done.code, done.complaint) == (
        2,
        "kpatch: no such option '-x'; write ./-x.ko for the file of that name",
    )


def test_no_arguments_show_the_help() -> None:
    assert run() == run("--help") and run().code == 0


@pytest.mark.parametrize("name", ["scan", "apply", "diff", "verify", "report", "demo", "revert"])
def test_signatures_of_ones_own_are_taken_wherever_one_is_read(name: str, tmp_path: Path) -> None:
    done = run(name, "--signatures", str(tmp_path), _MODULE, *_PAGE.get(name, ()))
    assert (done.code, done.complaint) == (
        2,
        f"kpatch: {tmp_path}: no signature in this folder; put NAME.toml there",
    )


def test_a_folder_of_signatures_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("scan", "--signatures", tmp_path / "none", _MODULE)
    assert done.code == 2 and "/none: there is no such folder" in done.complaint


_PAGE = {"report": ("-o", "page.html")}
