"""Modules that carry a source fix: refused, unless told to switch it off."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.note import read_note
from tests.cli import schema
from tests.cli.harness import copied, look, run, sample

_REPLACEABLE = pytest.mark.parametrize("variant", ["a", "b"])
_RET = 0xC3


@_REPLACEABLE
def test_a_source_fix_is_switched_off_and_said_to_be(variant: str, tmp_path: Path) -> None:
    path = copied(f"kqemu-7-fix-{variant}.ko", tmp_path)
    done = run("apply", "--no-verify", "--replace-source-fix", path)
    assert done.code == 0
    words = " ".join(done.err.split())
    assert f"Source fix {variant.upper()} now returns at once." in words
    module = read_module(path.read_bytes())
    note = read_note(module)
    assert note is not None and note.source_fix == variant.upper()
    name = {"a": "kqemu_tss_workaround", "b": "kqemu_tss_fixup"}[variant]
    function = module.symbol_named(name)
    assert function is not None
    section = module.sections[function.section]
    assert module.contents(section)[function.value] == _RET


@_REPLACEABLE
def test_revert_gives_the_source_fix_back(variant: str, tmp_path: Path) -> None:
    path = copied(f"kqemu-7-fix-{variant}.ko", tmp_path)
    run("apply", "--no-verify", "--replace-source-fix", path)
    assert run("revert", path).code == 0
    assert path.read_bytes() == sample(path.name).read_bytes()


@_REPLACEABLE
def test_a_dry_run_shows_what_is_switched_off(variant: str) -> None:
    path = sample(f"kqemu-7-fix-{variant}.ko")
    done = run("apply", "--dry-run", "--replace-source-fix", path)
    assert done.code == 0 and "@@ kqemu_tss_" in done.out
    assert f"{path}: source fix {variant.upper()} is switched off" in done.err.splitlines()
    assert run("diff", "-u", "--replace-source-fix", path).out == done.out


@_REPLACEABLE
def test_the_document_names_the_source_fix(variant: str, tmp_path: Path) -> None:
    path = copied(f"kqemu-7-fix-{variant}.ko", tmp_path)
    done = run("apply", "--no-verify", "--json", "--replace-source-fix", path)
    schema.check(done.document, "apply", 0)
    assert done.document["files"][0]["module"]["source_fix"]["variant"] == variant.upper()
    scanned = run("scan", "--json", path).document["files"][0]
    assert scanned["verdict"] == "patched"
    assert scanned["patch"]["source_fix"] == variant.upper()


@pytest.mark.parametrize("options", [[], ["--replace-source-fix"]])
def test_the_sound_fix_c_is_refused_either_way(options: list[str], tmp_path: Path) -> None:
    path = copied("kqemu-7-fix-c.ko", tmp_path)
    before = look(path)
    done = run("apply", "--no-verify", *options, path)
    assert done.code == 14 and "source fix C" in done.complaint
    assert look(path) == before


def test_a_module_without_a_source_fix_is_patched_as_always(tmp_path: Path) -> None:
    one, two = (copied("kqemu-7.ko", tmp_path, name) for name in ("one.ko", "two.ko"))
    run("apply", "--no-verify", one)
    done = run("apply", "--no-verify", "--replace-source-fix", two)
    assert one.read_bytes() == two.read_bytes() and "source fix" not in done.err
