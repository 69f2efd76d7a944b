"""``--osversion`` and ``--kernel``: what settles a doubt, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.note import read_note
from tests.cli.harness import copied, look, names, patched_bytes, run
from tests.objects import kernel


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Small kernels: the versions that decide, one without the symbol, one for i386, one torn."""
    folder = tmp_path_factory.mktemp("kernels")
    made = {
        "6.2": kernel("int osreldate = 602000;"),
        "7.0": kernel("int osreldate = 700055;"),
        "7.3": kernel("int osreldate = 703000;"),
        "5.4": kernel("int osreldate = 504000;"),
        "silent": kernel("int something_else = 1;"),
        "i386": kernel(bits=32),
    }
    made["cut"] = made["7.0"][: len(made["7.0"]) // 2]
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in made}


_SIX, _SEVEN = 0x3C, 0x34
_SMALL = ("--scenario=leave", "--cpus=2", "--model=sc", "--jobs=1")


@pytest.mark.parametrize(
    ("name", "options", "cpuid"),
    [
        ("kqemu-7-ambiguous.ko", ["--osversion=602000"], _SIX),
        ("kqemu-7-ambiguous.ko", ["--osversion=700055"], _SEVEN),
        ("kqemu-7-ambiguous.ko", ["--kernel=6.2"], _SIX),
        ("kqemu-7-ambiguous.ko", ["--kernel=7.0"], _SEVEN),
        ("kqemu-7-ambiguous.ko", ["--kernel=7.0", "--osversion=700055"], _SEVEN),
        ("kqemu-7.ko", ["--kernel=7.0"], _SEVEN),
        ("kqemu-7.ko", ["--osversion=700100"], _SEVEN),
        ("kqemu-7-ambiguous.ko", ["--kernel=5.4"], _SIX),
        ("kqemu-6.ko", ["--osversion=604000"], _SIX),
    ],
)
def test_the_kernel_settles_where_cpuid_is(
    name: str, options: list[str], cpuid: int, kernels: Mapping[str, Path], tmp_path: Path
) -> None:
    path = copied(name, tmp_path)
    done = run("apply", "--no-verify", *_with_files(options, kernels), path)
    assert done.code == 0, done.err
    note = read_note(read_module(path.read_bytes()))
    assert note is not None and note.cpuid == cpuid


@pytest.mark.parametrize(
    ("name", "options", "code", "says"),
    [
        ("kqemu-7-ambiguous.ko", [], 15, "--osversion"),
        ("kqemu-7-ambiguous.ko", ["--kernel=silent"], 15, "--osversion"),
        ("kqemu-7.ko", ["--osversion=602000"], 15, "conflict"),
        ("kqemu-6.ko", ["--osversion=700055"], 15, "conflict"),
        ("kqemu-7.ko", ["--kernel=6.2"], 15, "conflict"),
        ("kqemu-6.ko", ["--kernel=7.0"], 15, "conflict"),
        ("kqemu-7.ko", ["--kernel=7.0", "--osversion=602000"], 15, "conflict"),
        ("kqemu-7-ambiguous.ko", ["--kernel=7.0", "--osversion=602000"], 15, "conflict"),
        ("kqemu-8.ko", ["--osversion=700055"], 15, "conflict"),
        ("kqemu-7.ko", ["--osversion=703000"], 13, "GDT of its own"),
        ("kqemu-7.ko", ["--kernel=7.3"], 13, "GDT of its own"),
        ("kqemu-7.ko", ["--osversion=1302001"], 15, "conflict"),
        ("kqemu-7.ko", ["--osversion=900044"], 15, "conflict"),
        ("kqemu-7.ko", ["--kernel=i386"], 13, "i386"),
        ("kqemu-7.ko", ["--osversion=702000"], 13, "GDT of its own"),
        ("kqemu-7.ko", ["--kernel=cut"], 10, "cut"),
        ("kqemu-7.ko", ["--kernel=missing"], 18, "cannot read it"),
        ("kqemu-7.ko", ["--osversion=7.0-RELEASE"], 2, "release name"),
        ("kqemu-7.ko", ["--osversion=seven"], 2, "sysctl"),
    ],
)
def test_doubt_and_contradiction_are_refused(
    name: str,
    options: list[str],
    code: int,
    says: str,
    kernels: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    path = copied(name, tmp_path)
    before = look(path)
    given = _with_files(options, kernels)
    done = run("apply", "--no-verify", *given, path)
    assert (done.code, done.out) == (code, "")
    assert says in done.complaint
    assert look(path) == before and names(tmp_path) == [name]
    assert run("apply", "--dry-run", *given, path).code == code
    assert run("diff", *given, path).code == code
    if options:  # a doubt keeps nobody from seeing that the module is wrong; a contradiction does
        verified = run("verify", *_SMALL, *given, path)
        assert (verified.code, verified.out) == (code, "") and says in verified.complaint


def test_a_module_patched_for_another_kernel_is_not_called_done(
    kernels: Mapping[str, Path], tmp_path: Path
) -> None:
    path = copied("kqemu-7-ambiguous.ko", tmp_path)
    assert run("apply", "--no-verify", "--osversion=602000", path).code == 0
    before = look(path)
    assert run("apply", "--no-verify", "--osversion=602000", path).code == 0
    done = run("apply", "--kernel", kernels["7.0"], path)
    assert done.code == 15 and "patched for kernels with cpuid at 0x3c" in done.complaint
    assert look(path) == before


def test_scan_apply_and_verify_say_the_same_of_a_patched_module(
    kernels: Mapping[str, Path], tmp_path: Path
) -> None:
    path = copied("kqemu-7-ambiguous.ko", tmp_path)
    assert run("apply", "--no-verify", "--osversion=602000", path).code == 0
    for given in ("--osversion=602000", f"--kernel={kernels['6.2']}"):
        assert run("scan", given, path).code == 0
        assert run("verify", *_SMALL, given, path).code == 0
    for given in ("--osversion=700055", f"--kernel={kernels['7.0']}"):
        scanned = run("scan", given, path)
        assert scanned.code == 1 and "patched for kernels with cpuid at 0x3c" in scanned.out
        assert "kpatch revert" in scanned.out
        assert run("verify", given, path).code == run("apply", given, path).code == 15


def test_the_kernel_does_not_change_the_patch_where_the_module_knows(
    kernels: Mapping[str, Path], tmp_path: Path
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    run("apply", "--no-verify", "--kernel", kernels["7.0"], path)
    assert path.read_bytes() == patched_bytes()


def _with_files(options: list[str], kernels: Mapping[str, Path]) -> list[str]:
    return [
        f"--kernel={kernels.get(option[9:], option[9:])}"
        if option.startswith("--kernel=")
        else option
        for option in options
    ]
