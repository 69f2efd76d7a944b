"""Odd modules: each is patched and gives its original back, or refused with what helps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kpatch.elf.klink import check
from kpatch.elf.module import read_module
from kpatch.errors import KpatchError
from kpatch.kernel.host import Host
from kpatch.patch.apply import apply_plan, read_back
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.giveback import given_back
from kpatch.patch.prepare import prepare
from tests.cases import odd_modules
from tests.cases.rewriter import Rewriter
from tests.cli.harness import run

SAMPLE = (Path(__file__).parents[2] / "samples" / "kqemu-7.ko").read_bytes()


@cache
def made(name: str) -> bytes:
    change = odd_modules.PATCHED.get(name) or odd_modules.REFUSED[name][0]
    return change(Rewriter(SAMPLE))


@pytest.mark.parametrize("name", odd_modules.PATCHED)
def test_it_is_patched_and_gives_its_original_back(name: str) -> None:
    data = made(name)
    found = assess(read_module(data, "odd.ko"), host=Host(700055))
    assert found.verdict is Verdict.AFFECTED
    plan = prepare(found)
    whole = apply_plan(plan)
    module = read_back(plan, whole)
    assert assess(module).verdict is Verdict.PATCHED
    assert not [each for each in check(module) if each.is_fatal]
    back = given_back(module)
    assert back.is_original and back.data == data


@pytest.mark.parametrize("name", odd_modules.REFUSED)
def test_it_is_refused_with_what_helps(name: str, tmp_path: Path) -> None:
    _, scan, apply, words = odd_modules.REFUSED[name]
    path = tmp_path / "odd.ko"
    path.write_bytes(data := made(name))
    if scan is not None:
        seen = run("scan", path)
        assert seen.code == scan and (scan != 1 or ": AFFECTED\n" in seen.out)
    done = run("apply", "--no-verify", "--osversion", "700055", path)
    assert done.code == apply and words in done.complaint
    assert "unpack" not in done.complaint, "a word of Python's struct module"
    assert len(done.complaint) < 400 + len(str(tmp_path))
    assert path.read_bytes() == data and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("alignment 0 of data", lambda odd: setattr(odd[".rodata.str1.1"], "align", 1)),
        ("a program header", lambda odd: odd.header.__setitem__(slice(56, 58), b"\0\0")),
        ("an empty table for no section", lambda odd: odd.parts.pop()),
    ],
)
def test_what_the_refusal_says_helps(name: str, mend: object) -> None:
    odd = Rewriter(made(name))
    assert callable(mend)
    mend(odd)
    data = odd.build()
    found = assess(read_module(data, "mended.ko"), host=Host(700055))
    try:
        assert apply_plan(prepare(found))
    except KpatchError as error:
        pytest.fail(str(error))
