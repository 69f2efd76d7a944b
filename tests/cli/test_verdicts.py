"""Every sample through scan and apply: the verdicts and exit codes that the manifest promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.module import read_module
from tests.cli import schema
from tests.cli.harness import MANIFEST, Done, copied, kpatch, listing, look, names, run, sample
from tests.elf.objects import with_section_field

_BY_NAME = pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: str(entry["file"]))
_FINDINGS = {"affected", "unknown-build", "patched-then-changed"}
_UNSOUND = {
    each["file"] for each in MANIFEST if "-fix-a" in each["file"] or "-fix-b" in each["file"]
}


@_BY_NAME
def test_scan_gives_the_verdict_of_the_manifest(entry: dict[str, Any]) -> None:
    done = run("scan", sample(entry["file"]))
    assert done.out.splitlines()[0] == f"{sample(entry['file'])}: {entry['verdict'].upper()}"
    is_finding = entry["verdict"] in _FINDINGS or entry["file"] in _UNSOUND
    assert done.code == (1 if is_finding else 0)
    assert done.err == ""


@_BY_NAME
def test_scan_says_the_same_as_json(entry: dict[str, Any]) -> None:
    text, done = run("scan", sample(entry["file"])), run("scan", "--json", sample(entry["file"]))
    schema.check(done.document, "scan", text.code)
    (found,) = done.document["files"]
    assert found["verdict"] == entry["verdict"]
    if "cpuid" in entry and "kernel" in found:
        assert found["kernel"]["cpuid"] == entry["cpuid"]
    if "match" in found and "image" in entry:
        places = {each["site"]: each["file_offset"] for each in found["match"]["sites"]}
        assert places == {"entry": entry["entry_site"], "exit": entry["exit_site"]}


@_BY_NAME
def test_apply_exits_as_the_manifest_says(entry: dict[str, Any], tmp_path: Path) -> None:
    path = copied(entry["file"], tmp_path)
    before = listing(tmp_path)
    done = run("apply", "--no-verify", path)
    assert done.code == entry["apply_exit"]
    if done.code == 0:
        assert path.read_bytes() != before[path.name].data
        assert len(names(tmp_path)) == 2, "the module and its original, nothing else"
    else:
        assert listing(tmp_path) == before
        assert_refused(done, path)


@_BY_NAME
def test_apply_says_the_same_as_json(entry: dict[str, Any], tmp_path: Path) -> None:
    path = copied(entry["file"], tmp_path)
    done = run("apply", "--no-verify", "--json", path)
    assert done.code == entry["apply_exit"]
    schema.check(done.document, "apply", entry["apply_exit"])
    (found,) = done.document["files"]
    assert found["status"] == ("refused" if done.code else "patched")
    if done.code:
        assert found["error"]["exit_code"] == done.code
        assert done.err == ""


@_BY_NAME
def test_a_dry_run_exits_as_apply_does_and_writes_nothing(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    path = copied(entry["file"], tmp_path)
    before = listing(tmp_path)
    done = run("apply", "--dry-run", path)
    assert done.code == entry["apply_exit"]
    assert listing(tmp_path) == before


def test_a_module_that_was_changed_after_the_patch_is_found_and_refused(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    run("apply", "--no-verify", path)
    between_trampolines = b"\xcc" * 6
    assert path.read_bytes().count(between_trampolines) == 1
    path.write_bytes(path.read_bytes().replace(between_trampolines, b"\xcc" * 5 + b"\x90"))
    before = look(path)
    scanned, applied = run("scan", path), run("apply", "--no-verify", path)
    assert scanned.out.startswith(f"{path}: PATCHED-THEN-CHANGED\n") and scanned.code == 1
    assert applied.code == 10 and look(path) == before
    assert_refused(applied, path)


def test_a_patched_module_stays_as_it_is(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    run("apply", "--no-verify", path)
    before = listing(tmp_path)
    scanned, applied = run("scan", path), run("apply", "--no-verify", path)
    assert scanned.out.startswith(f"{path}: PATCHED\n") and scanned.code == 0
    assert (applied.code, applied.err) == (0, f"{path}: patched already, nothing to do\n")
    assert listing(tmp_path) == before


def test_a_module_that_the_kernel_linker_would_refuse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    data = bytearray(sample("kqemu-7.ko").read_bytes())
    headers = int.from_bytes(data[40:48], "little")
    # sh_addralign of section 1, .text: no power of two
    data[headers + 64 + 48 : headers + 64 + 56] = (24).to_bytes(8, "little")
    path.write_bytes(data)
    before = look(path)
    done = run("apply", "--no-verify", path)
    assert done.code == 16 and look(path) == before
    assert_refused(done, path)


def test_one_refused_file_does_not_keep_the_others_from_their_turn(tmp_path: Path) -> None:
    other, good, bad = (
        copied(name, tmp_path) for name in ("other.ko", "kqemu-7.ko", "kqemu-7-twice.ko")
    )
    done = run("apply", "--no-verify", "--json", other, tmp_path / "missing", good, bad)
    schema.check(done.document, "apply", 18)
    assert done.code == 18, "the highest of 11, 18, 0 and 12"
    found = [each["status"] for each in done.document["files"]]
    assert found == ["refused", "refused", "patched", "refused"]


def test_no_refusal_is_a_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    refused = [each["file"] for each in MANIFEST if each["apply_exit"]]
    paths = [copied(name, tmp_path) for name in refused]
    done = kpatch("apply", *paths, cwd=tmp_path)
    assert done.code == max(each["apply_exit"] for each in MANIFEST)
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines.pop().startswith(f"{len(refused)} files: ")
    assert len(lines) == len(refused)
    assert all(
        line.startswith(f"kpatch: {path}: ") for line, path in zip(lines, paths, strict=True)
    )


def test_a_module_that_the_kernel_would_load_wrong_is_told(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    module = read_module(path.read_bytes())
    (strings,) = (
        number for number, each in enumerate(module.sections) if each.name == ".rodata.str1.1"
    )
    path.write_bytes(with_section_field(module.data, strings, "type", elf.SHT_NOTE))
    warning = "the kernel loads the module, and it is wrong; compile the module again"
    assert run("scan", path).out.count(warning) == 1
    assert run("apply", "--dry-run", path).err.count(warning) == 1
    (entry,) = run("apply", "--dry-run", "--json", path).document["files"]
    assert [notice for notice in entry["notices"] if warning in notice]
    sound = run("apply", "--dry-run", "--json", sample("kqemu-7.ko")).document["files"]
    assert sound[0]["notices"] == []


@pytest.mark.parametrize(
    ("options", "kernels"),
    [
        ((), "7.0 to 7.2, 8-CURRENT;"),
        (("--osversion=700112",), "7.0-STABLE (700112);"),
        (("--osversion=800020",), "8-CURRENT (before 800046);"),
    ],
)
def test_kernels_that_follow_each_other_are_one_range(options: list[str], kernels: str) -> None:
    assert f"\n  kernel: {kernels}" in run("scan", *options, sample("kqemu-7.ko")).out


def assert_refused(done: Done, path: Path) -> None:
    """One line that says where, what, and what to do; nothing on standard output."""
    assert done.out == ""
    assert done.complaint.startswith((f"kpatch: {path}: ", f"kpatch: {path}, section "))
    _, _, todo = done.complaint.rpartition("; ")
    assert todo and "Traceback" not in done.err
