"""What people see first: the screen of apply, words that all are explained, suggestions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kpatch.cli.commands import COMMANDS, EXIT_CODES
from kpatch.elf.klink_model import Consequence
from kpatch.elf.klink_rules import RULES
from kpatch.patch.lint import LINTS
from kpatch.ports.place import Change
from kpatch.report.apply_text import applied_text
from kpatch.report.glossary import terms
from kpatch.report.style import Style
from kpatch.report.typed import Applied
from kpatch.verify.machine.properties import CATALOG
from kpatch.verify.machine.scenarios import SCENARIOS
from kpatch.verify.proof.checks import SENTENCES
from kpatch.verify.proof.obligations import default_suite
from tests.cli import schema
from tests.cli.harness import (
    GOLDEN,
    REPOSITORY,
    copied,
    kpatch,
    patched_bytes,
    run,
    sample,
)
from tests.cli.little import prove_little
from tests.cli.terminal import ESCAPE, on_terminal, screen


class Proven(NamedTuple):
    """What one ``apply`` with its whole proof said of kqemu.ko, and what it wrote."""

    document: Applied
    err: str
    data: bytes


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """The one whole proof of these tests, in a process of its own."""
    folder = tmp_path_factory.mktemp("applied")
    path = copied("kqemu-7.ko", folder, "kqemu.ko")
    done = kpatch("apply", "--json", "kqemu.ko", cwd=folder)
    schema.check(done.document, "apply", 0)
    return Proven(done.document["files"][0], done.err, path.read_bytes())


@pytest.fixture
def applied(proven: Proven) -> Applied:
    """The document of that ``apply``."""
    return proven.document


def test_apply_proves_the_patch_and_then_writes_it(proven: Proven) -> None:
    assert proven.err.splitlines() == [
        "kqemu.ko: patched and proven; the original is kept in kqemu.ko.orig.gz",
    ]
    assert proven.data == patched_bytes()
    proof = proven.document["proof"]
    assert proof is not None
    assert proof["verdict"] == "proven"
    explored = proof["explored"]
    assert all(each["holds"] for each in explored)
    assert {each["cpus"] for each in explored if each["kind"] == "obligation"} >= {2, 4}
    assert {each["kind"] for each in explored} == {"obligation", "control"}


def test_the_first_screen_answers_five_questions_in_20_lines(applied: Applied) -> None:
    document = applied
    for width, most in ((40, 56), (60, 30), (80, 20), (120, 20)):
        lines = applied_text(document, Style(), width).splitlines()
        assert len(lines) <= most
        assert max(map(len, lines)) <= width
    text = " ".join(applied_text(document, Style(), 80).split())
    assert text.startswith("kqemu.ko: PATCHED AND PROVEN file kqemu")
    for each in (".rodata+0x61", ".rodata+0x1b1", "1, 2 and 4 CPUs", "sc and tso", "NMIs"):
        assert each in text
    assert "undo kpatch revert kqemu.ko; the original is also kept in kqemu.ko.orig.gz" in text
    assert "kldunload kqemu; kldload kqemu" in text
    numbers = re.search(r"\((\d+) explorations, (\d+) states", text)
    proof = document["proof"]
    assert proof is not None and numbers is not None
    held = [each for each in proof["explored"] if each["kind"] == "obligation"]
    assert [int(each) for each in numbers.groups()] == [
        len(held),
        sum(each["states"] for each in held),
    ]


def test_the_terminal_keeps_no_debris_of_the_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove_little(monkeypatch)
    path, shown = copied("kqemu-7.ko", tmp_path, "kqemu.ko"), tmp_path / "shown"
    shown.mkdir()
    shutil.copy(path, shown)
    monkeypatch.chdir(tmp_path)
    done = run("apply", "--json", "kqemu.ko")
    document = done.document["files"][0]
    program = ("-m", "tests.cli.little", "apply", "kqemu.ko")
    _, written = on_terminal([], shown, 80, program=program)
    plain = ESCAPE.sub("", written)
    assert "proving kqemu.ko" in plain and not re.search(r"\b1 state\b", plain)
    assert screen(written, 80) == applied_text(document, Style(), 80).splitlines()


def test_a_dumb_terminal_gets_one_line(tmp_path: Path) -> None:
    copied("kqemu-7.ko", tmp_path, "kqemu.ko")
    arguments = ["verify", "--model", "sc", "--cpus", "2", "kqemu.ko"]
    code, written = on_terminal(arguments, tmp_path, 80, "dumb")
    assert code == 17 and "\x1b" not in written
    assert written.count("proving") == 1


def test_several_files_get_a_line_each_and_a_closing_line(tmp_path: Path) -> None:
    for name in ("kqemu-7.ko", "kqemu-6.ko", "kqemu-7-twice.ko", "kqemu-i386.ko"):
        copied(name, tmp_path)
    done = run("apply", "--no-verify", *sorted(tmp_path.glob("*.ko")))
    lines = done.err.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "4 files: 2 patched, 1 refused, 1 nothing to do"


def test_scan_ends_with_the_next_step(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    assert run("scan", path).out.splitlines()[-1] == f"  next: kpatch apply {path}"


def test_every_word_that_is_printed_has_an_explanation(
    applied: Applied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    known = terms(EXIT_CODES, COMMANDS)
    printed = _words(json.loads(run("schema").out)) - _SENTENCES
    # Of the document of a real proof, what is a name and not a sentence or a place.
    for key in ("scenario", "prop", "expected", "reader", "site", "model", "name"):
        printed |= {each for each in _values(applied["proof"], key) if _NAME.fullmatch(each)}
    printed |= {f"TR {each.tr_selector:#x}" for each in default_suite(with_maxcpu=True)}
    printed |= set(FIELD_WORDS) | set(_named()) | set(SENTENCES) | {"signature", *_trap_rules()}
    printed |= {type(each).__name__ for each in LINTS} | set(EXIT_CODES)
    printed |= set(_MARKED.findall((GOLDEN.parent / "proof" / "violated.txt").read_text()))
    unknown = {each for each in printed if run("explain", "--", each).code}
    # An option is explained where it is one.
    options = {each for each in unknown if each.startswith("--")}
    assert unknown == options
    assert all(each in run("apply", "--help").out for each in options)
    for word, text in known.items():
        assert " ".join(run("explain", "--", word).out.split()) == f"{word}: {text}"


def _named() -> Iterator[str]:
    yield from (each.name for each in SCENARIOS)
    yield from (each.name for each in CATALOG)
    yield from (each.name for each in RULES)


FIELD_WORDS = (
    *("TR", "TSS", "GDT", "ltr", "str", "#GP", "cpuid", "struct pcpu", "common_tss"),
    *("NMIs", "machine checks", "DMA", "memory models", "explorations", "states", "controls"),
    *("entry site", "exit site", "image offset", "file offset", "foreign TSS", "guest", "hosts"),
    *("local instructions", "replay", "switch", "interleaving", "lock", "__FreeBSD_version"),
    *("image", "entry", "exit", "free", "faults", "sgdt", "sidt", "sldt", "kldload", "OSABI"),
    *("busy bit", "scenario", "PATCHED AND PROVEN", "intact"),
    *("original", "dry run", "CURRENT", "STABLE", "in doubt", "SHA-256", "LIEF", "IDT", "LDT"),
)
"""Words of the field on the screens of scan, apply, verify and explain, as they are printed."""


def _trap_rules() -> list[str]:
    ports = (REPOSITORY / "kpatch" / "ports").glob("*.py")
    found = re.findall(r'\bTrap\(\s*"([a-z-]+)"', "".join(each.read_text() for each in ports))
    assert len(found) > 15
    return found


_NAME = re.compile(r"[a-z]+(-[a-z]+)*")
_MARKED = re.compile(r"^ *\^? *([a-z]+-[a-z]+): ", re.M)
_SENTENCES = {each.value for each in (*Consequence, *Change)}
"""Words of the schema that say what they mean."""


def _words(value: object) -> set[str]:
    """Every word that a key of the schema may have: its enums and constants."""
    if isinstance(value, list):
        return {word for each in value for word in _words(each)}
    if not isinstance(value, dict):
        return set()
    found = {word for key, each in value.items() if key != "properties" for word in _words(each)}
    found |= {word for each in value.get("properties", {}).values() for word in _words(each)}
    enum = value["enum"] if isinstance(value.get("enum"), list) else []
    return found | {each for each in (*enum, value.get("const")) if isinstance(each, str) and each}


def _values(value: object, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        own = value.get(key)
        yield from [own] if isinstance(own, str) else own if isinstance(own, list) else []
        for each in value.values():
            yield from _values(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each, key)


def test_an_unknown_word_or_command_gets_a_suggestion() -> None:
    assert "did you mean scan?" in run("scn", "x.ko").complaint
    assert run("hook", "aply").complaint.endswith("no such command 'aply'; did you mean apply?")
    assert run("help", "scan").complaint.endswith("see 'kpatch scan --help'")
    assert run("version").complaint.endswith("see 'kpatch --version'")
    here = sample("kqemu-7.ko")
    assert run(here).complaint.endswith(f"to see what it is: kpatch scan {here}")
    assert run("scan", "--jsn", "x").complaint.endswith("'--jsn'; did you mean --json?")
    missing = "kpatch: missing argument 'FILE...'; see 'kpatch scan --help'"
    assert run("scan").complaint == missing
    assert run("explain", "schedul").complaint.count(" or ") < 3
    assert "did you mean schedule or" in run("explain", "schedul").complaint
    lists = "'kpatch explain --list' names all terms"
    assert run("explain", "schedul").complaint.endswith(f"? {lists}")
    for unknown in ("xyzzy", "thelockhasapageforitsel"):
        assert run("explain", unknown).complaint.endswith(f"is no file and no term; {lists}")
    for missing in ("/nonexistent/kqemu.ko", "kqemu-nowhere.ko"):
        assert run("explain", missing).code == 18
    assert "is a folder" in run("explain", "..").complaint


def test_the_schema_is_one_and_refuses_what_is_none() -> None:
    done = run("schema")
    assert done.code == 0 and '"const": 1' in done.out
    document = run("scan", "--json", "/nonexistent").document
    assert schema.problems(document) == []
    assert schema.problems({**document, "schema": 2})
    assert schema.problems({key: each for key, each in document.items() if key != "files"})


def test_the_page_names_every_verdict_of_the_schema() -> None:
    page = (REPOSITORY / "docs" / "json.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z]+(?:-[a-z]+)*", page.partition("| command | verdicts |")[2]))
    parts = json.loads(run("schema").out)["$defs"]
    own = [each.get("properties", {}) for name, each in parts.items() if name not in _INNER]
    verdicts = [each[key].get("enum", []) for each in own for key in _AS_VERDICT & each.keys()]
    assert len(verdicts) > 8
    assert {word for words in verdicts for word in words} <= named


_AS_VERDICT = {"verdict", "standing"}
_INNER = {"explored", "machine"}
"""Parts of the schema whose verdict is not about a file."""
