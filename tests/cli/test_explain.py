"""``kpatch explain``: terms, pages, and the bug on a file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpatch.patch.lint import LINTS
from tests.cli import schema
from tests.cli.harness import REPOSITORY, copied, package_bytes, patched_bytes, run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("exit code 17", "The verification failed"),
        ("800046", "8-CURRENT (800046 and later), __FreeBSD_version 800046-800106: every CPU"),
        ("8-CURRENT", "800000-800045: all CPUs share one GDT"),
        ("7.2-RELEASE", "702000-702999"),
        ("%gs:0x3c", "5.x, 6.0, 6.1"),
        ("kqemu-amd64-tr", "A signature: "),
        ("bound", "Behind 'window:'"),
        ("PATCHED AND PROVEN", "was proven before"),
    ],
)
def test_words_of_a_term_need_no_quotes_and_kernels_are_terms(words: str, said: str) -> None:
    assert said in " ".join(run("explain", *words.split()).out.split())


def test_explain_lists_its_terms(tmp_path: Path) -> None:
    listed = run("explain", "--list").out.splitlines()
    assert {"schedule", "busy bit", "8-current", "exit code 17"} <= set(listed)
    assert not {type(each).__name__.lower() for each in LINTS} & set(listed)
    assert run("explain").code == run("explain", "tr", copied("kqemu-7.ko", tmp_path)).code == 2
    assert "exit code 17" in run("explain", "--list", "--json").document["files"][0]["lines"]


def _messages(tree: ast.AST) -> Iterator[str]:
    """Every text of a source file, but for what only its readers see. A command's is its help."""
    unseen: set[ast.AST] = set()
    for node in ast.walk(tree):
        if getattr(node, "name", "") != "command":
            below = (each for each in ast.iter_child_nodes(node) if isinstance(each, ast.Expr))
            unseen |= {each.value for each in below}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in unseen:
            yield node.value


def test_a_page_that_a_message_names_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = set()
    sources = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "kpatch").rglob("*.py")]
    for source in sources:
        for text in _messages(ast.parse(source)) if "docs/" in source else ():
            found = re.findall(r"docs/[a-z-]+\.md", text)
            assert len(found) == len(re.findall(r"'kpatch explain docs/|, as docs/", text)), text
            named |= set(found)
    assert named
    for each in named:
        done = run("explain", each)
        assert done.out == (REPOSITORY / each).read_text(encoding="utf-8")
    assert "docs/limits.md" in run("explain", "docs/nothing.md").complaint


def test_a_page_is_found_by_its_bare_name_too(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "limits.md").read_text(encoding="utf-8")
    for name in ("limits", "Limits", "limits.md", "docs/limits"):
        assert run("explain", name).out == page
    assert "did you mean limits" in run("explain", "limit").complaint
    assert "docs/limits.md" in run("explain", "--list").out.splitlines()
    # A file that is missing in a folder of that name is no page.
    assert run("explain", "docs/kqemu.ko").code == 18


def test_explain_tells_the_bug_of_this_file(tmp_path: Path) -> None:
    path = copied("kqemu-7-offsets.ko", tmp_path)
    done = run("explain", "--json", path)
    schema.check(done.document, "explain", 0)
    text = "\n".join(done.document["files"][0]["lines"])
    (match,) = [each["match"] for each in run("scan", "--json", path).document["files"]]
    for site in match["sites"]:
        assert f"+{site['section_offset']:#x}" in text
        assert all(each in text for each in site["instructions"])
    assert "CPU 0 ends with TSS 1: WRONG, that is another CPU's" in text


def test_explain_of_a_patched_file_does_not_say_to_repair_it(tmp_path: Path) -> None:
    path = tmp_path / "patched.ko"
    path.write_bytes(patched_bytes())
    document = run("explain", "--json", path).document["files"][0]
    assert document["verdict"] == "patched"
    assert f"Take it back with: kpatch revert {path}" in document["lines"]
    assert not any("kpatch apply" in line for line in document["lines"])
    for removed, comes_back in ((".comment", True), (".note.kpatch", False)):
        subprocess.run(["objcopy", "-g", "-R", removed, path, tmp_path / "cut.ko"], check=True)
        (entry,) = run("explain", "--json", tmp_path / "cut.ko").document["files"]
        text = "\n".join(entry["lines"])
        assert entry["verdict"] == "patched-then-stripped"
        assert "Before the patch: AFFECTED" in text and "CPU 0 ends with TSS 1: WRONG" in text
        assert ("kpatch revert" in text) == comes_back
    kept = copied("kqemu-7-offsets.ko", tmp_path, "kqemu.ko.orig")
    (entry,) = run("explain", "--json", kept).document["files"]
    assert entry["lines"][-1].endswith(
        "kpatch keeps of kqemu.ko: leave it as it is, kpatch revert uses it."
    )
    package = tmp_path / "kqemu.pkg"
    package.write_bytes(package_bytes("xz"))
    (entry,) = run("explain", "--json", package).document["files"]
    assert entry["lines"][-1] == f"Repair it with: kpatch apply {package}"
