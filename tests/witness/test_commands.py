"""What other readers say decides, in ``apply`` and in ``verify``."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from kpatch import repair
from kpatch.patch import apply as carrying_out
from kpatch.patch.apply import write
from kpatch.patch.plan import Plan
from kpatch.verify.machine.scenarios import SCENARIOS
from kpatch.witness.readers import readback
from kpatch.witness.readers.background import Background
from kpatch.witness.readers.readback import Reading
from tests.cli import schema
from tests.cli.harness import copied, listing, patched_bytes, run

pytestmark = pytest.mark.usefixtures("whole_switch_once")

_SMALL = ("verify", "--cpus", "2", "--model", "sc", "--scenario", SCENARIOS[0].name, "--jobs", "1")
_BIT_OF_THE_CODE = b"\x0f\xab\xc8"  # bts eax, ecx


def damaged(plan: Plan) -> bytes:
    """What an editor with a mistake would make: one wrong bit in the entry's trampoline."""
    data = write(plan)
    at = data.rindex(_BIT_OF_THE_CODE)
    return data[: at + 2] + bytes([data[at + 2] ^ 1]) + data[at + 3 :]


@pytest.mark.parametrize("options", [("--no-verify",), ()])
def test_what_is_not_as_planned_is_not_written(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    before = listing(tmp_path)
    monkeypatch.setattr(carrying_out, "write", damaged)
    # The proof would find the same mistake; here the readers are asked alone.
    monkeypatch.setattr(repair, "prove_case", lambda *_: None)
    monkeypatch.setattr(repair, "require_proven", lambda _: None)
    done = run("apply", *options, path)
    assert done.code == 17 and listing(tmp_path) == before
    assert "pyelftools reads the patched file otherwise than planned" in done.err
    assert ".text.kpatch" in done.err and "contents differ in the 4096 bytes at 0x0" in done.err


def test_the_document_says_who_read_the_file_back(tmp_path: Path) -> None:
    done = run("apply", "--no-verify", "--json", copied("kqemu-7.ko", tmp_path))
    schema.check(done.document, "apply", 0)
    readers = done.document["files"][0]["readers"]
    assert [(each["reader"], each["agrees"]) for each in readers] == [
        ("pyelftools", True),
        ("LIEF", True),
    ]


def test_verify_says_who_agrees(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    done = run(*_SMALL, path)
    assert done.code == 0
    assert "read back: pyelftools " in done.out and "agree with kpatch" in done.out


def test_a_reader_that_objects_is_a_failure_of_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    objection = (Reading("LIEF", "1.0.0", ("section 3: size is 1, expected 2",)),)
    monkeypatch.setattr(Background, "readings", lambda _: objection)
    done = run(*_SMALL, path)
    assert done.code == 17
    assert "LIEF does not agree:\n    section 3: size is 1, expected 2" in done.out


def test_a_reader_that_the_machine_refuses_says_nothing_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())

    def refused() -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setitem(readback.READERS, "LIEF", refused)
    done = run(*_SMALL, path)
    assert done.code == 18
    assert "Too many open files" in done.err and "ulimit -n" in done.err
