"""Names that forge lines, steer terminals, are no UTF-8 or as long as can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.harness import copied, kpatch, listing, names, patched_bytes, run, sample


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
