"""What is no refusal of ours: the machine, a library, or a bug. Never a traceback, never a 1."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import keystone
import pytest

from kpatch.cli import boundary, main
from kpatch.elf.module import Module
from kpatch.patch import assess
from tests.children import in_child
from tests.cli.harness import command_line, copied, environment, run, sample
from tests.processes import is_on_its_way
from tests.verify.proof.calls import LONG, patched

FOREIGN = {
    "memory": (MemoryError(), 18, "there is no memory for it"),
    "memory of a library": (keystone.KsError(keystone.KS_ERR_NOMEM), 18, "there is no memory"),
    "a library": (keystone.KsError(keystone.KS_ERR_ARCH), 18, "the library keystone failed"),
    "an import": (ImportError("no such thing", name="lief"), 18, "cannot load lief"),
    "descriptors": (OSError(errno.EMFILE, "Too many open files"), 18, "ulimit -n"),
    "processes": (BlockingIOError(errno.EAGAIN, "try again"), 18, "ulimit -u"),
    "Python": (
        SystemError("error return without exception set"),
        18,
        "Python failed: error return",
    ),
    "a bug": (KeyError("x"), 70, "a bug of kpatch: KeyError"),
    "a deep one": (RecursionError("too deep"), 70, "a bug of kpatch: RecursionError"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_errors_are_told_apart_and_keep_no_other_file_from_its_turn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, code, said = FOREIGN[name]
    bad, good = copied("kqemu-7.ko", tmp_path, "bad.ko"), copied("other.ko", tmp_path, "good.ko")
    real = assess.assess

    def scan(module: Module, **options: object) -> object:
        if module.name == str(bad):
            raise foreign
        return real(module, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(assess, "assess", scan)
    done = run("scan", bad, good)
    line, closing = done.err.splitlines()
    assert done.code == code and said in line and str(bad) in line
    assert closing == "2 files: 1 refused, 1 not-kqemu"
    assert f"{good}: NOT-KQEMU" in done.out
    document = run("scan", "--json", bad).document
    assert document["files"][0]["error"]["exit_code"] == code


def test_a_read_that_fails_in_the_importer_is_no_bug() -> None:
    """FileIO.read() gives None for EAGAIN, and importlib does not expect that."""
    name = "<frozen importlib._bootstrap_external>"
    try:
        exec(compile("raise TypeError", name, "exec"))
    except TypeError as error:
        assert boundary.as_ours(error).exit_code == 18


def test_source_that_cannot_be_read_now_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compile() that gets None here, and Python leaves the importer's frames out."""

    def get_data(_: SourceFileLoader, path: str) -> None:
        if path.endswith(".pyc"):
            raise FileNotFoundError

    (tmp_path / "some_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(SourceFileLoader, "get_data", get_data)
    with pytest.raises(TypeError) as raised:
        exec("import some_module")
    assert boundary.as_ours(raised.value).exit_code == 18
    with pytest.raises(TypeError) as raised:
        len(0)  # type: ignore[arg-type]
    assert boundary.as_ours(raised.value).exit_code == 70


def test_a_library_whose_files_cannot_be_looked_at_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes its folder for a namespace package."""
    (tmp_path / "some_library").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AttributeError) as raised:
        exec("import some_library; some_library.Engine")
    ours = boundary.as_ours(raised.value)
    assert ours.exit_code == 18 and "some_library" in str(ours)


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 64 << 20])
def test_a_library_that_does_not_load_under_a_limit_names_it(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unicorn says only that its dynamic library cannot be loaded."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    said = boundary.as_ours(ImportError("Failed to load the Unicorn dynamic library"))
    assert said.exit_code == 18 and said.todo.endswith("install kpatch again")
    assert ("ulimit -v" in said.todo) == (limit != resource.RLIM_INFINITY)


def test_verbose_shows_where_a_bug_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(assess, "assess", scan)
    done = run("scan", "-v", sample("kqemu-7.ko"))
    assert done.code == 70 and "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("kpatch: ")


@pytest.mark.parametrize(
    ("limit", "amount"), [(resource.RLIMIT_AS, 60 << 20), (resource.RLIMIT_NOFILE, 4)]
)
def test_a_machine_without_room_is_exit_code_18_or_done(limit: int, amount: int) -> None:
    done = subprocess.run(
        command_line("scan", sample("kqemu-7.ko")),
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(limit, (amount, amount)),
    )
    assert done.returncode in (1, 18)
    if done.returncode == 18:
        assert b"Traceback" not in done.stderr and done.stderr.count(b"\n") == 1


def test_a_library_that_an_interrupt_leaves_half_made_stays_silent() -> None:
    code = (
        "import keystone.keystone, sys\n"
        "from kpatch.cli.main import run\n"
        "def interrupted(*_): raise KeyboardInterrupt\n"
        # Its Ks.__del__ reads what __init__ never set.
        "keystone.keystone.ks_version = interrupted\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "apply", "--dry-run", str(sample("kqemu-7.ko"))],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == b"kpatch: interrupted; no file was changed half-way\n"
    assert done.returncode == 130


@pytest.mark.parametrize("module", ["kpatch.cli.commands", "click", "kpatch.patch.assess"])
def test_an_interrupt_while_kpatch_starts_is_told_as_everywhere(module: str) -> None:
    # Sent by the import itself: a time is too late on a fast machine, too early on a slow one.
    code = (
        "import os, signal, sys\n"
        "from kpatch.cli.main import main\n"
        "def imported(event, arguments):\n"
        f"    if event == 'import' and arguments[0] == {module!r}:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.addaudithook(imported)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "scan", *[str(sample("kqemu-7.ko"))] * 2],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == b"kpatch: interrupted; no file was changed half-way\n"
    assert done.returncode == 130


def test_an_interrupt_of_the_program_itself_leaves_no_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line("verify", *LONG, patched(tmp_path)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # It is on its way where it has loaded the disassembler, and it never ends by itself.
    assert is_on_its_way(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode in (1, 130, -signal.SIGINT) and b"Traceback" not in said


@pytest.mark.parametrize(("error", "told"), [("OSError", False), ("KeyError", True)])
def test_only_a_bug_is_told_where_nobody_can_catch_it(error: str, *, told: bool) -> None:
    code = (
        "from kpatch.cli.main import main\n"
        "class Left:\n"
        f"    def __del__(self): raise {error}(4, 'x')\n"
        "here = [Left()]\n"
        "import sys; sys.addaudithook(lambda event, _: here.clear() if event == 'open' else None)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "scan", str(sample("other.ko"))],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=True,
    )
    assert (b"Traceback" in done.stderr) is told


def test_a_closed_stream_leaves_its_number_to_no_file_of_ours(tmp_path: Path) -> None:
    """What a library prints as an error went into the new module."""

    def without_error_stream() -> None:
        os.close(2)
        sys.stderr = None
        main._take_standard_numbers()
        with (tmp_path / "file").open("wb") as file:
            assert file.fileno() > 2
            os.write(2, b"said")
        assert (tmp_path / "file").read_bytes() == b""

    assert in_child(without_error_stream) == 0
