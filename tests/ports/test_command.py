"""``kpatch hook`` as it is called: what it prints, writes and exits with."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kpatch.cli import main
from kpatch.ports import stamp
from tests.ports.harness import HERE, OSVERSION, REPOSITORY, Tree

DOCUMENTS = REPOSITORY / "docs" / "ports.md"


@dataclass(frozen=True)
class Done:
    """One call: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """The real command line, called in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def run(self, *arguments: str) -> Done:
        """Call ``kpatch hook``."""
        self._capture.readouterr()
        code = main.run(["hook", *arguments])
        printed = self._capture.readouterr()
        return Done(code, printed.out, printed.err)

    def on(self, tree: Tree, *arguments: str) -> Done:
        """Call it with the tree, its make.conf and its overlay."""
        return self.run(
            f"--ports-dir={tree.ports_dir}",
            f"--make-conf={tree.make_conf}",
            f"--overlay={tree.overlay}",
            f"--make=bmake -m {HERE / 'trees' / 'mk'}",
            *arguments,
        )


@pytest.fixture
def hook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with its output caught, on a FreeBSD 7.0."""
    monkeypatch.setenv("OSVERSION", OSVERSION)
    return Command(capsys)


def document(done: Done) -> dict[str, Any]:
    """The one JSON document on standard output."""
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit_code"] == done.returncode
    return found


def test_alone_it_prints_every_place_and_line(hook: Command) -> None:
    done = hook.run()
    assert done.returncode == 0
    for text in (
        "/usr/local/share/kpatch/overlay/Mk/Uses/kpatch.mk",
        "OVERLAYS+=\t/usr/local/share/kpatch/overlay",
        "emulators_kqemu-kmod_VARS+=\tUSES+=kpatch",
        "/usr/ports/emulators/kqemu-kmod/scripts/post-build",
        '.include "${.CURDIR}/files/kpatch.mk"',
    ):
        assert text in done.stdout


def test_alone_it_prints_them_for_the_port_that_is_named(hook: Command) -> None:
    done = hook.run("--port", "sysutils/other")
    assert "sysutils_other_VARS+=\tUSES+=kpatch" in done.stdout
    assert "/usr/ports/sysutils/other/scripts/post-build" in done.stdout
    assert "emulators" not in done.stdout
    assert hook.run("--port", "other").returncode == 2


def test_alone_it_prints_one_document(hook: Command) -> None:
    guides = document(hook.run("--json"))["guides"]
    assert [len(guide["steps"]) for guide in guides] == [3, 9, 3]


def test_following_what_it_prints_makes_the_build_repair(hook: Command, plain: Tree) -> None:
    """The whole way of a user: check, install, add the lines, check, build, remove."""
    before = sorted(plain.root.rglob("*"))
    assert hook.on(plain).returncode == 1
    needs_lines = plain.era == "modern"
    assert hook.on(plain, "--install").returncode == (1 if needs_lines else 0)
    guides = document(hook.on(plain, "--json"))["guides"]
    lines = [
        line
        for guide in guides
        for step in guide["steps"]
        for line in step["lines"]
        if step["what"] == "lines to add"
    ]
    plain.conf(*lines)
    done = hook.on(plain)
    assert done.returncode == 0
    assert done.stdout.splitlines()[2:] == ["ready"]
    built = plain.make("package")
    assert built.status == 0, built.log
    assert plain.installed.read_text() == "repaired\n"
    assert plain.make("clean").status == 0
    plain.installed.unlink(missing_ok=True)
    assert hook.on(plain, "--uninstall").returncode == 0
    after = [path for path in sorted(plain.root.rglob("*")) if "dest/boot" not in str(path)]
    assert after == before


def test_installing_names_every_file_that_it_writes(hook: Command, plain: Tree) -> None:
    before = set(plain.root.rglob("*"))
    done = hook.on(plain, "--install")
    written = {path for path in set(plain.root.rglob("*")) - before if path.is_file()}
    assert written
    assert {line for line in done.stdout.splitlines() if line.startswith("write: ")} == {
        f"write: {path}" for path in written
    }


def test_installing_says_what_is_still_to_do(hook: Command, tmp_path: Path) -> None:
    modern = Tree(tmp_path, "modern")
    done = hook.on(modern, "--install")
    assert f"write OVERLAYS+= {modern.overlay}" in done.stdout


def test_a_tree_without_the_files_is_not_ready(hook: Command, plain: Tree) -> None:
    plain.hook()
    assert hook.on(plain).returncode == 0
    found = next(path for path in plain.root.rglob("*kpatch.*") if path.is_file())
    found.unlink()
    done = hook.on(plain)
    assert done.returncode == 1
    assert f"where: {found}" in done.stdout
    assert document(hook.on(plain, "--json"))["survey"]["traps"][0]["rule"] == "not-installed"


def test_a_file_of_another_version_is_a_note(hook: Command, plain: Tree) -> None:
    plain.hook()
    found = next(path for path in plain.root.rglob("*kpatch.*") if path.is_file())
    found.write_bytes(stamp.stamped(f"# another\n{found.read_text()}"))
    done = hook.on(plain)
    assert done.returncode == 0
    assert "note: outdated: a file of the hook was written by another version" in done.stdout


def test_a_file_in_the_way_is_a_usage_error_and_nothing_is_written(
    hook: Command, tmp_path: Path
) -> None:
    old = Tree(tmp_path, "old")
    (old.port / "scripts").mkdir()
    (old.port / "scripts" / "post-build").write_text("echo mine\n")
    done = hook.on(old, "--install")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kpatch: {old.port}/scripts/post-build: there is a file")
    assert [path.name for path in (old.port / "scripts").iterdir()] == ["post-build"]


def test_uninstalling_says_what_it_keeps(hook: Command, plain: Tree) -> None:
    plain.hook()
    files = [path for path in plain.root.rglob("*kpatch.*") if path.is_file()]
    files[0].write_text("mine")
    done = hook.on(plain, "--uninstall")
    assert done.returncode == 0
    assert f"kept: not as kpatch wrote it: {files[0]}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--install"], "no ports tree is named"),
        (["--uninstall"], "no ports tree is named"),
        (["--install", "--uninstall"], "contradict each other"),
        (["--ports-dir=/nonexistent"], "there is no such folder"),
        (["--ports-dir="], "not a ports tree"),
        (["apply"], "missing"),
        (["--no-such-option"], "no such option"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(
    hook: Command, arguments: list[str], message: str
) -> None:
    done = hook.run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert document(hook.run(*arguments, "--json"))["error"]["error"] == "usage"


def test_a_kernel_file_that_says_nothing_is_told_in_the_words_of_a_build(
    hook: Command, tmp_path: Path
) -> None:
    folders = (f"--{name}={tmp_path}" for name in ("wrkdir", "wrksrc", "stagedir"))
    done = hook.run(
        "apply", *folders, f"--kernel={REPOSITORY / 'samples' / 'kqemu-7.ko'}", "--json", "kqemu.ko"
    )
    found = document(done)
    assert (done.returncode, found["command"]) == (15, "hook apply")
    assert "this is not a kernel" in found["error"]["what"]
    assert "KPATCH_FLAGS (--kernel FILE), or set KPATCH_OSVERSION" in found["error"]["todo"]


def test_a_step_on_nothing_is_refused_as_a_document_too(hook: Command, tmp_path: Path) -> None:
    done = hook.run(
        "apply",
        f"--wrkdir={tmp_path}",
        f"--wrksrc={tmp_path}",
        f"--stagedir={tmp_path}/stage",
        "--json",
        "kqemu.ko",
    )
    assert done.returncode == 11
    found = document(done)
    assert found["command"] == "hook apply"
    assert found["files"] == []
    assert found["error"]["what"] == "the build made no file named kqemu.ko"


def test_the_page_names_every_trap_and_variable() -> None:
    page = DOCUMENTS.read_text()
    ports = REPOSITORY / "kpatch" / "ports"
    source = (ports / "traps.py").read_text() + (ports / "place.py").read_text()
    rules = [
        line.strip().strip('",') for line in source.splitlines() if line.strip().endswith('",')
    ]
    names = [rule for rule in rules if rule.replace("-", "").isalpha() and "-" in rule]
    assert len(names) > 8
    for name in names:
        assert f"`{name}`" in page, name
    for name in ("KPATCH", "KPATCH_FILES", "KPATCH_OSVERSION", "KPATCH_FLAGS", "KPATCH_DEPENDS"):
        assert f"`{name}`" in page


def test_the_commands_of_the_page_are_commands_of_kpatch(hook: Command) -> None:
    """Each ``kpatch hook`` line of the page is accepted by the option parser."""
    lines = [line.strip() for line in DOCUMENTS.read_text().splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("kpatch hook")]
    assert len(calls) >= 4
    for call in calls:
        done = hook.run(*[word.replace("/usr/ports", "/nonexistent") for word in call[2:]])
        assert "no such option" not in done.stderr
        assert "there is no such folder" in done.stderr
