"""The hook with the real command line and real modules, from ``samples``, in real builds."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kpatch import repair
from kpatch.containers.target import open_target
from kpatch.elf.module import read_module
from kpatch.errors import (
    DamagedFileError,
    FileAccessError,
    KpatchError,
    OtherSignatureError,
    VerificationError,
)
from kpatch.kernel.host import Host
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.original import original_of
from kpatch.ports import build
from kpatch.ports.locate import Folders
from kpatch.ports.workshop import ModuleWorkshop
from kpatch.proving import Proving
from kpatch.signature.load import load_signatures
from kpatch.storage.bulk import Bulk
from tests.objects import kernel
from tests.ports.harness import REPOSITORY, Tree, by_fragment, by_scripts, by_uses, sha256

SAMPLES = REPOSITORY / "samples"


def sample(name: str) -> bytes:
    """The bytes of a sample."""
    return (SAMPLES / name).read_bytes()


def with_real_program(tree: Tree) -> Tree:
    """Hook the tree with the real kpatch, without the proof (which has its own test).

    Its start is left out; the test with the proof has a process of its own.
    """
    tree.served("real")
    tree.hook("KPATCH_FLAGS=\t--no-verify")
    return tree


@pytest.fixture
def real(tmp_path: Path) -> Tree:
    """A tree with overlays and the real kpatch."""
    return with_real_program(Tree(tmp_path, "modern"))


def test_a_real_module_is_staged_repaired_and_gives_back_its_original(plain: Tree) -> None:
    real = with_real_program(plain)
    real.build_gives(sample("kqemu-7.ko"))
    done = real.make("-j4", "package")
    assert done.status == 0, done.log
    assert done.line("kpatch apply: kqemu.ko: repaired (") < done.line("NOT VERIFIED")
    staged = read_module(real.installed.read_bytes())
    assert assess(staged).verdict is Verdict.PATCHED
    assert str(real.root).encode() not in staged.data
    assert original_of(staged) == sample("kqemu-7.ko")


def test_a_rerun_leaves_the_repaired_module_as_it_is(real: Tree) -> None:
    real.build_gives(sample("kqemu-7.ko"))
    assert real.make("build").status == 0
    first = sha256(real.module)
    real.build_gives(real.module.read_bytes())
    done = real.make("clean", "package")
    assert done.status == 0, done.log
    done.line("kpatch apply: kqemu.ko: repaired before, left as it is")
    assert sha256(real.installed) == first


@pytest.mark.parametrize("name", ["kqemu-i386.ko", "kqemu-7-fix-c.ko"])
def test_a_real_module_that_needs_no_repair_passes_untouched(real: Tree, name: str) -> None:
    real.build_gives(sample(name))
    done = real.make("package")
    assert done.status == 0, done.log
    done.line("kpatch apply: kqemu.ko: left as it is: ")
    assert sha256(real.installed) == hashlib.sha256(sample(name)).hexdigest()


def test_a_kernel_with_a_gdt_for_each_cpu_passes_untouched(real: Tree) -> None:
    real.build_gives(sample("kqemu-7.ko"))
    done = real.make("package", KPATCH_OSVERSION="701000")
    assert done.status == 0, done.log
    done.line("kpatch apply: kqemu.ko: left as it is: ")
    assert sha256(real.installed) == hashlib.sha256(sample("kqemu-7.ko")).hexdigest()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kqemu-7-fix-a.ko", "source fix A"),
        ("kqemu-7-sitereloc.ko", "cannot be displaced"),
        ("other.ko", "not kqemu"),
    ],
)
def test_a_module_that_cannot_be_repaired_fails_the_build(
    real: Tree, name: str, message: str
) -> None:
    real.build_gives(sample(name))
    done = real.make("package")
    assert done.status != 0
    assert message in done.log
    assert "Traceback" not in done.log
    assert "build" not in real.cookies()
    assert not real.installed.exists()
    assert sha256(real.refused) == hashlib.sha256(sample(name)).hexdigest()


def test_a_source_fix_is_replaced_on_request(real: Tree) -> None:
    real.hook("KPATCH_FLAGS=\t--no-verify --replace-source-fix")
    real.build_gives(sample("kqemu-7-fix-a.ko"))
    done = real.make("package")
    assert done.status == 0, done.log
    assert assess(read_module(real.installed.read_bytes())).verdict is Verdict.PATCHED


def test_a_module_that_was_stripped_after_the_repair_is_refused(real: Tree) -> None:
    real.build_gives(sample("kqemu-7.ko"))
    real.edit(
        "do-package:",
        "post-install:\n\t@printf x >> ${STAGEDIR}${DESTDIR}${KMODDIR}/kqemu.ko\n\ndo-package:",
    )
    done = real.make("package")
    assert done.status != 0
    assert "changed since kpatch patched it" in done.log
    assert "package" not in real.cookies()


def test_a_build_with_the_real_proof_stages_a_proven_module(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "modern")
    tree.program("kpatch", [sys.executable, "-m", "kpatch.cli.main"])
    tree.hook()
    tree.build_gives(sample("kqemu-7.ko"))
    done = tree.make("stage")
    assert done.status == 0, done.log
    ours = [line for line in done.log.splitlines() if "kpatch" in line]
    assert ours[-1].endswith(f"staged as built, SHA-256 {sha256(tree.installed)}")
    page = (REPOSITORY / "docs" / "ports.md").read_text()
    block = page.split("## What a good build looks like")[1].split("Look for these lines")[0]
    shown = [line.strip() for line in block.splitlines() if "kpatch" in line]
    assert [without_amounts(line) for line in shown] == [without_amounts(line) for line in ours]


def test_the_failure_that_the_page_shows_is_a_real_one(real: Tree) -> None:
    """Line by line; what the page leaves out is written there as three dots."""
    real.build_gives(sample("kqemu-7-fix-b.ko"))
    log = real.make("build").log.splitlines()
    page = (REPOSITORY / "docs" / "ports.md").read_text()
    block = page.split("## What a failure looks like")[1].split("One line says")[0]
    shown = [line.strip() for line in block.splitlines() if line.strip()]
    assert len(shown) == 3
    at = next(n for n, line in enumerate(log) if line.startswith("kpatch: /"))
    for line, wanted in zip(log[at : at + 3], shown, strict=True):
        said = line.replace(f"{real.wrksrc}/", ".../work/kqemu-1.3.0pre11/")
        pattern = ".+".join(re.escape(part) for part in wanted.split("..."))
        assert re.fullmatch(pattern, said.replace("kqemu-kmod/work", "kqemu-kmod")), (said, wanted)


def without_amounts(line: str) -> str:
    """The words of a line: a better search changes its amounts, and the hash is the build's."""
    return re.sub(
        r"\d+(?= (explorations|states|controls))|[0-9a-f]{64}$|[0-9a-f]{4}\.\.\.$", "N", line
    )


def test_a_failed_proof_says_what_to_do_with_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof's own advice is for ``apply``, which has written nothing; a build has."""

    def refuted(*_: object, **__: object) -> NoReturn:
        raise VerificationError("not right: own-tss", where="x", todo="nothing was written")

    monkeypatch.setattr("kpatch.repair.prove", refuted)
    path = tmp_path / "kqemu.ko"
    path.write_bytes(sample("kqemu-7.ko"))
    workshop = ModuleWorkshop(Host(), replace_source_fix=False, proving=Proving())
    workshop.apply(path)
    with pytest.raises(VerificationError) as caught:
        workshop.verify(path)
    assert str(caught.value) == (
        f"{path}: not right: own-tss; the build stops here; do not load this module, and report it"
    )


@pytest.mark.parametrize(
    ("name", "code", "remedy"),
    [
        ("kqemu-7-cut.ko", 12, "make clean, and build again; if that says the same, report it"),
        ("kqemu-7-fix-b.ko", 14, "set KPATCH_FLAGS=--replace-source-fix; make clean"),
        ("kqemu-7-ambiguous.ko", 15, "set KPATCH_OSVERSION to the version of the kernel"),
        ("other.ko", 11, "name the module that this port builds (USES=kpatch:FILE, or"),
    ],
)
def test_a_refusal_has_the_remedies_of_a_build_and_the_code_of_the_page(
    tmp_path: Path, name: str, code: int, remedy: str
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(sample(name))
    workshop = ModuleWorkshop(Host(), replace_source_fix=False, proving=None)
    folders = Folders(tmp_path, tmp_path, tmp_path / "stage")
    with pytest.raises(KpatchError) as caught:
        list(build.apply(["kqemu.ko"], folders, workshop))
    assert remedy in str(caught.value)
    assert caught.value.exit_code == code
    page = (REPOSITORY / "docs" / "ports.md").read_text()
    assert f"\n| {code} | " in page


def test_a_module_patched_with_a_signature_that_the_build_forgot_asks_for_its_folder(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(sample("kqemu-7.ko"))
    others = tuple(each._replace(id="other") for each in load_signatures())
    ModuleWorkshop(Host(), replace_source_fix=False, proving=None, signatures=others).apply(path)
    with pytest.raises(OtherSignatureError) as caught:
        ModuleWorkshop(Host(), replace_source_fix=False, proving=None).examine(path)
    assert "in KPATCH_FLAGS (--signatures DIR), and build again" in caught.value.todo


def test_what_is_no_module_is_refused_without_all_of_it_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(b"no module")
    monkeypatch.setattr(Bulk, "whole", pytest.fail)
    workshop = ModuleWorkshop(Host(), replace_source_fix=False, proving=None)
    for read in (workshop.examine, lambda each: open_target(each).only_module):
        with pytest.raises(DamagedFileError, match="this is not an ELF file"):
            read(path)


def test_what_replaces_a_module_while_it_is_repaired_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(sample("kqemu-7.ko"))
    repair_it = repair.apply

    def slowly(*arguments: Any, **options: Any) -> repair.Repaired:
        path.write_bytes(sample("kqemu-6.ko"))
        return repair_it(*arguments, **options)

    monkeypatch.setattr("kpatch.repair.apply", slowly)
    with pytest.raises(FileAccessError, match="somebody else changed it in the meantime"):
        ModuleWorkshop(Host(), replace_source_fix=False, proving=None).apply(path)
    assert path.read_bytes() == sample("kqemu-6.ko")


@pytest.mark.parametrize("way", ["modern uses", "modern fragment", "old scripts"])
def test_a_kernel_file_says_its_version_where_the_tree_has_another(
    tmp_path: Path, way: str
) -> None:
    """The tree's OSVERSION stands in where nobody names a version; a file names one."""
    era, how = way.split()
    tree = Tree(tmp_path, era)
    tree.served("real")
    {"fragment": by_fragment, "scripts": by_scripts, "uses": by_uses}[how](tree)
    (tmp_path / "kernel").write_bytes(kernel())
    flags = f"KPATCH_FLAGS=\t--no-verify --kernel {tmp_path / 'kernel'}"
    tree.conf(*(tree.lines[:2] if how == "uses" else ()), flags)
    tree.build_gives(sample("kqemu-7.ko"))
    done = tree.make("build", OSVERSION="1302001")
    assert done.status == 0, done.log
    assert assess(read_module(tree.module.read_bytes())).verdict is Verdict.PATCHED
    done = tree.make("clean", "build", "KPATCH_OSVERSION=602000", OSVERSION="1302001")
    assert "conflict: KPATCH_OSVERSION" in done.log and "15" in done.log


def test_a_wrong_version_is_asked_for_by_the_name_of_the_variable(real: Tree) -> None:
    real.build_gives(sample("kqemu-7.ko"))
    log = real.make("build", "KPATCH_OSVERSION=1302001").log
    assert "conflict: KPATCH_OSVERSION (or the tree's OSVERSION) 1302001" in log
    assert "--osversion" not in log
    assert (
        "OSVERSION (or the tree's OSVERSION): 'x'" in real.make("build", "KPATCH_OSVERSION=x").log
    )
