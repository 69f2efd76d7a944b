"""What is printed, where, and in which colours."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli import golden, schema
from tests.cli.golden import CASES, Case
from tests.cli.harness import (
    COMMANDS,
    GOLDEN,
    command_line,
    copied,
    environment,
    kpatch,
    patched_bytes,
    run,
    sample,
)
from tests.cli.little import little_line, prove_little

_BRIEFLY = {"demo": ("--machine-seconds", "0.1")}
"""The machine is started, and not waited for."""

_MODULE = sample("kqemu-7.ko")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_every_word_is_as_it_was(case: Case) -> None:
    assert golden.printed(case) == golden.path_of(case).read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{case.name}.txt" for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_no_line_has_blanks_at_its_end_or_more_than_ascii(case: Case) -> None:
    lines = _ESCAPE.sub("", golden.path_of(case).read_text()).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("name", ["scan", "dry-run", "diff"])
def test_colour_only_adds_marks(name: str) -> None:
    calls = {
        "scan": ("scan", "."),
        "dry-run": ("apply", "--dry-run", "kqemu-7.ko"),
        "diff": ("diff", "kqemu-7.ko"),
    }
    with golden.folder():
        plain = run(*calls[name])
        coloured = run(*calls[name], "--color", "always")
    assert "\x1b" not in plain.out and "\x1b[31m" in coloured.out
    assert [line.rstrip() for line in _ESCAPE.sub("", coloured.out).splitlines()] == [
        line.rstrip() for line in plain.out.splitlines()
    ]


@pytest.mark.parametrize(
    ("options", "env", "is_coloured"),
    [
        ([], {}, True),
        (["--color", "auto"], {}, True),
        (["--color", "never"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--json"], {}, False),
    ],
)
def test_a_terminal_shows_colours_unless_told_otherwise(
    options: list[str], env: Mapping[str, str], is_coloured: bool
) -> None:
    shown = _on_terminal("scan", *options, str(_MODULE), env=env)
    assert ("\x1b[31mAFFECTED\x1b[0m" in shown) == is_coloured
    assert ("AFFECTED" in shown) == ("--json" not in options)


def _on_terminal(*arguments: str, env: Mapping[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command_line(*arguments), stdout=theirs, stderr=theirs, stdin=theirs, env=environment(env)
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says EIO where the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return shown.decode()


def test_a_pipe_shows_no_colours() -> None:
    assert "\x1b" not in kpatch("scan", _MODULE).out


def test_the_output_is_the_same_for_any_hash_seed_and_from_any_folder(tmp_path: Path) -> None:
    for call in (["scan", "-v", "--json"], ["apply", "--dry-run"], ["diff"]):
        outputs = {
            kpatch(*call, _MODULE, cwd=cwd, env={"PYTHONHASHSEED": seed}).out
            for seed, cwd in (("0", tmp_path), ("1", Path("/")))
        }
        assert len(outputs) == 1


def test_quiet_says_nothing_where_nothing_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove_little(monkeypatch)
    path = copied("kqemu-7.ko", tmp_path)
    assert run("apply", "-q", "--dry-run", path).err == ""
    assert run("apply", "-q", "--no-verify", path).err.count("\n") == 1, "the missing proof is said"
    assert run("apply", "-q", path).err == ""
    assert run("revert", "-q", path).err == ""
    assert (
        "it is not patched, so there is nothing to take back" in run("revert", "-q", path).complaint
    )


def test_details_show_every_number_of_the_document() -> None:
    long = run("scan", "-vv", _MODULE).out
    (found,) = run("scan", "--json", _MODULE).document["files"]
    image, kernel = found["match"]["image"], found["kernel"]
    for each in (found["sha256"], found["size"], image["size"], kernel["low"], kernel["high"]):
        assert str(each) in long
    assert all(f"{name}: {at:#x}" in long for name, at in image["header"].items())
    assert set(run("scan", "-v", _MODULE).out.splitlines()) < set(long.splitlines())


def test_verbose_shows_what_the_patch_rests_on(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    short, long = run("apply", "--dry-run", path), run("apply", "--dry-run", "-v", path)
    assert long.out == short.out
    assert "undefined symbol: the module wants _thread_lock_flags" in long.err
    assert short.err in long.err and len(short.err) < len(long.err)


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in ("verify", "hook")])
def test_json_is_the_only_thing_on_standard_output(command: str, tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    words = command_line if command != "apply" else little_line  # what is patched is proven, too
    done = subprocess.run(
        words(command, *_BRIEFLY.get(command, ()), "--json", path),
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=300,
        check=False,
    )
    schema.check(json.loads(done.stdout), command, done.returncode)
    assert done.returncode == (1 if command in _BRIEFLY else 0)


def test_json_of_a_dry_run_holds_the_diff(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    done = run("apply", "--dry-run", "--json", path)
    (found,) = done.document["files"]
    schema.check(done.document, "apply", 0)
    assert found["status"] == "would-patch"
    assert [(each["section"], each["place"]) for each in found["diff"]["hunks"]] == [
        (".rodata", "kernel2monitor"),
        (".rodata", "behind exit_end"),
        (".text.kpatch", "kpatch_tss_entry"),
        (".text.kpatch", "kpatch_tss_exit"),
    ]


def test_json_of_a_file_that_is_not_there_is_a_document() -> None:
    for command in ("scan", "apply", "revert", "diff", "verify"):
        done = run(command, "--json", "/nonexistent/kqemu.ko")
        schema.check(done.document, command, 18)
        assert (done.code, done.err) == (18, "")


def test_a_kernel_that_is_not_there_is_a_document_too() -> None:
    done = run("scan", "--json", "--kernel", "/nonexistent/kernel", _MODULE)
    schema.check(done.document, "scan", 18)
    assert done.document["error"]["where"] == "/nonexistent/kernel"


@pytest.mark.parametrize(
    "call", [["scan"], ["scan", "--json"], ["diff"], ["apply", "--dry-run"], ["--help"]]
)
def test_output_that_cannot_be_written_is_exit_code_18(call: list[str]) -> None:
    arguments = call if call == ["--help"] else [*call, str(_MODULE)]
    with Path("/dev/full").open("w") as full:
        done = _with_output(full.fileno(), *arguments)
    assert done == (
        18,
        b"kpatch: cannot write the output: No space left on device; it is incomplete\n",
    )


@pytest.mark.parametrize("call", [["scan", "-v"], ["scan", "--json"], ["diff"]])
def test_output_that_nobody_reads_any_more_ends_in_silence(call: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = _with_output(writer, *call, str(_MODULE))
    os.close(writer)
    assert done == (18, b"")


def test_a_reader_that_stops_early_gets_what_it_read() -> None:
    line = " ".join(map(str, command_line("scan", sample("."))))
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == f"{sample('kqemu-6-fix-a.ko')}: FIXED-BY-SOURCE\n".encode()
    assert (done.returncode, done.stderr) == (18, b"")


@pytest.mark.parametrize("closed", ["1", "2", "1 2", "0 1 2"])
def test_closed_streams_are_no_traceback(closed: str, tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    redirections = " ".join(f"{stream}>&-" for stream in closed.split())
    for words, expected in (
        (command_line("scan"), 1),
        (little_line("apply", "--no-copy"), 0),
    ):
        line = f"{' '.join(map(str, words))} {path} {redirections}"
        done = subprocess.run(
            ["bash", "-c", line], env=environment(), capture_output=True, timeout=300, check=False
        )
        if "1" in closed:
            expected = 18
        assert done.returncode == expected
        assert b"Traceback" not in done.stderr
    assert path.read_bytes() == (
        sample("kqemu-7.ko").read_bytes() if "1" in closed else patched_bytes()
    )


def test_a_full_disk_under_standard_error_does_not_stop_the_repair(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command_line("apply", "--no-verify", path),
            env=environment(),
            stderr=full,
            timeout=300,
            check=False,
        )
    assert done.returncode == 18 and path.read_bytes() == patched_bytes()


def _with_output(output: int, *arguments: str) -> tuple[int, bytes]:
    done = subprocess.run(
        command_line(*arguments),
        env=environment(),
        stdout=output,
        stderr=subprocess.PIPE,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr
