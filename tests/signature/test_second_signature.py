"""A signature of our own, for a switch that the shipped one does not fit, goes the whole way.

The sample has another header, keeps its state in another register, and the signature gives the
new sections other names. Nothing in the product knows it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE, scenario_named
from kpatch.verify.proof import obligations
from kpatch.verify.proof.obligations import suite
from tests.cli.harness import REPOSITORY, SAMPLES, run

_BUILD = """
import json, sys
from pathlib import Path
import image
from build import Images, build
from variants import ON_7, Variant

folder, other = Path(sys.argv[1]), "-DSAMPLE_OTHER_SWITCH"
# -O2 takes seconds for what nobody looks at here.
image.MONITOR_FLAGS = (*image.MONITOR_FLAGS, "-Og")
variant = Variant(
    "other-switch.ko", "another switch", defines=(*ON_7, other), image_defines=(other,)
)
made = Images(folder).of(variant)
(folder / variant.file).write_bytes(build(variant, made, folder / "work"))
print(json.dumps(made.marks))
"""
_SMALL = ("--cpus", "2", "--model", "sc", "--scenario", "leave", "--jobs", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample and the signature that says where it matches."""
    folder = tmp_path_factory.mktemp("second")
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder)],
        env={"PYTHONPATH": str(SAMPLES), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        timeout=300,
    )
    marks = json.loads(built.stdout)
    module = read_module((folder / "other-switch.ko").read_bytes())
    symbol = module.defined("monitor_code")
    assert symbol is not None
    text = (Path(__file__).parent / "other-switch.toml").read_text()
    for word, offset in (
        ("IMAGE", symbol.value),
        ("ENTRY", marks["entry_site"]),
        ("EXIT", marks["exit_site"]),
    ):
        text = text.replace(f"= {word}", f"= {offset:#x}")
    (folder / "other-switch.toml").write_text(text)
    return folder


def test_the_shipped_signature_does_not_know_it(place: Path) -> None:
    assert run("scan", place / "other-switch.ko").code == 1
    assert run("apply", "--dry-run", place / "other-switch.ko").code in (11, 12)


def test_the_linter_finds_nothing(place: Path) -> None:
    done = run("lint-signatures", place / "other-switch.toml")
    assert (done.code, done.out) == (0, "")


def test_it_goes_from_scan_to_proof_and_back(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = suite([LEAVE, scenario_named("two-rounds")], [2], (MemoryModel.SC, MemoryModel.TSO))
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    path, own = tmp_path / "other.ko", ("--signatures", place)
    original = (place / "other-switch.ko").read_bytes()
    path.write_bytes(original)

    scanned = run("scan", *own, "-v", path)
    assert scanned.code == 1 and "AFFECTED" in scanned.out and "$context = rsi" in scanned.out
    assert f"  next: kpatch apply --signatures {place} {path}\n" in scanned.out
    refuted = run("verify", *own, *_SMALL, path)
    assert refuted.code == 17 and "own-tss" in refuted.out

    applied = run("apply", *own, "--no-copy", path)
    assert applied.code == 0, applied.err
    assert f"undo        kpatch revert --signatures {place} {path}\n" in applied.err
    patched = read_module(path.read_bytes())
    assert {".text.other_switch", ".data.other_switch"} <= {each.name for each in patched.sections}

    for shown in (
        run("diff", *own, path),
        run("apply", "--dry-run", *own, place / "other-switch.ko"),
        run("report", "--no-verify", "--json", *own, path),
    ):
        assert "behind back" in shown.out  # its switch is code, which only its signature tells

    assert run("scan", *own, path).code == 0
    alone = run("scan", path)
    assert alone.code == 1 and "other-switch, which is not here" in alone.out
    assert run("verify", *own, *_SMALL, path).code == 0
    without = run("verify", *_SMALL, path)
    assert without.code == 11 and "--signatures" in without.complaint

    stripped = tmp_path / "stripped.ko"
    subprocess.run(["objcopy", "-g", path, stripped], check=True)
    assert run("revert", stripped).code == 10
    assert run("revert", *own, stripped).code == 0
    assert run("verify", *own, *_SMALL, stripped).code == 17  # the repair is out

    assert run("revert", path).code == 11  # nothing tells whether the note is genuine
    assert run("revert", *own, path).code == 0
    assert path.read_bytes() == original


def test_no_product_line_knows_it() -> None:
    for file in (REPOSITORY / "kpatch").rglob("*.py"):
        assert "other_switch" not in file.read_text(), file


@pytest.mark.parametrize(
    ("name", "contents", "code", "said"),
    [
        ("bad.toml", b'id = "\xff"\n', 2, "is not UTF-8: the byte at offset 0x6 is 0xff"),
        ("bad.toml", b"id = ", 2, "is not TOML"),
        ("bad.toml", None, 2, "cannot be read: No such file or directory"),
        ("readme.txt", b"", 2, "no signature in this folder"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, contents: bytes | None, code: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if contents is None:
        path.symlink_to("nowhere")
    else:
        path.write_bytes(contents)
    done = run("scan", "--signatures", tmp_path, SAMPLES / "kqemu-7.ko")
    assert (done.code, done.out) == (code, "")
    assert said in done.complaint and str(tmp_path) in done.complaint
    assert done.err.count("\n") == 1


def test_two_files_of_one_id_are_refused(place: Path, tmp_path: Path) -> None:
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text((place / "other-switch.toml").read_text())
    done = run("scan", "--signatures", tmp_path, SAMPLES / "kqemu-7.ko")
    assert done.code == 2 and "it has the id of" in done.complaint
