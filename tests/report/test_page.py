"""The page about one module: drawn from its document, readable by everyone, safe to open."""

from __future__ import annotations

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from kpatch.elf.module import Module, read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.patch.sides import Sides
from kpatch.proving import case_of
from kpatch.report.page.document import page_document
from kpatch.report.page.html import page
from kpatch.report.proof_documents import proof_document
from kpatch.report.typed import Reported
from kpatch.report.typed_proof import CheckFacts
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof.obligations import suite
from kpatch.verify.proof.tasks import Bounds
from kpatch.verify.proof.workers import run_proof
from tests.cli.harness import SAMPLES, run
from tests.report.browser import axe, browser, complaints, press

_EVIL = "<script>x()//-"
"""As long as kqemu_modevent."""


@cache
def document() -> Reported:
    """The page's document for a sample, with a short proof."""
    module = read_module((SAMPLES / "kqemu-7.ko").read_bytes(), "kqemu-7.ko")
    found = assess(module)
    plan = prepare(found)
    after = read_module(apply_plan(plan), module.name)
    wanted = suite((LEAVE,), (2,), (MemoryModel.SC,))
    proof = run_proof(case_of(assess(after)), wanted, Bounds(), jobs=1, report=lambda _: None)
    return page_document(Sides(found, found, plan, after), proof_document(proof))


def evil() -> Reported:
    """A document in which a changed function is called ``<script>`` and so is the file."""
    data = (SAMPLES / "kqemu-7.ko").read_bytes().replace(b"kqemu_modevent", _EVIL.encode())
    module = read_module(data, "</script><img src=x onerror=x()>.ko")
    section = module.section_named(".text")
    symbol = module.symbol_named(_EVIL)
    assert section is not None and symbol is not None
    at = section.offset + symbol.value
    after: Module = read_module(data[:at] + b"\xc3" + data[at + 1 :], module.name)
    found = assess(module)
    return page_document(Sides(found, found, None, after), None)


class Tags(HTMLParser):
    """What a page has of each tag, and every address that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_the_page_is_drawn_from_the_document_alone() -> None:
    again = json.loads(json.dumps(document()))
    assert page(again) == page(document())


def test_the_page_names_nothing_outside_itself() -> None:
    tags = Tags(page(document()))
    assert all(each.startswith("#") for each in tags.addresses)
    assert tags.tags.count("script") == tags.tags.count("style") == 1
    assert not {"link", "iframe", "object", "embed", "img"} & set(tags.tags)


def test_names_from_the_file_are_text() -> None:
    text = page(evil())
    assert "&lt;script&gt;x()//-" in text and _EVIL not in text
    assert Tags(text).tags.count("script") == 1
    assert "img" not in Tags(text).tags


def test_the_script_is_short_and_plain() -> None:
    folder = Path(__file__).parents[2] / "kpatch" / "report" / "page"
    lines = (folder / "page.js").read_text().splitlines()
    assert len(lines) <= 300
    assert not [line for line in lines if "innerHTML" in line or "eval(" in line]


def test_the_page_says_what_the_document_says() -> None:
    text = page(document())
    for each in ("own-tss", "kpatch_tss_exit", "ltr ax", ".text.kpatch", "✓ proven", "refuted"):
        assert each in text
    proof = document()["proof"]
    assert proof is not None
    for explored in proof["explored"]:
        if explored["kind"] == "obligation":
            assert f"{explored['states']} states" in text
    assert proof["checks"]
    assert all(
        f"{each['name']}</strong>: {escape(each['sentence'])}" in text for each in proof["checks"]
    )
    broken: CheckFacts = {**proof["checks"][0], "holds": False, "wrong": ["it reads <rax>"]}
    wrong: Reported = {**document(), "proof": {**proof, "checks": [broken]}}
    assert "✗ violated: it reads &lt;rax&gt;" in page(wrong)


def test_a_browser_opens_it_steps_by_keyboard_and_finds_no_barrier(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(document()), encoding="utf-8")
    strange = tmp_path / "strange.html"
    strange.write_text(page(evil()), encoding="utf-8")
    proof = document()["proof"]
    assert proof is not None
    steps = proof["explored"][0]["counterexamples"][0]["lanes"]["steps"]
    with browser() as driver:
        driver.get(path.as_uri())
        assert complaints(driver) == []
        now = driver.find_element(By.CLASS_NAME, "now")
        seen = [now.text]
        press(driver, Keys.END)  # the page's own, where no counterexample is in sight
        assert now.text == seen[0]
        driver.get(path.as_uri())  # what scrolls would go on scrolling
        now = driver.find_element(By.CLASS_NAME, "now")
        driver.execute_script("document.getElementById('bug').scrollIntoView()")
        for _ in steps[1:]:
            press(driver, Keys.ARROW_RIGHT)
            seen.append(now.text)
        for number, (step, text) in enumerate(zip(steps, seen, strict=True), 1):
            assert text.startswith(f"Step {number} of {len(steps)}: CPU {step['cpu']}, ")
            assert f"The slot: {', '.join(step['descriptor'])}." in text
        assert "WRONG: own-tss" in seen[-1]
        assert driver.find_elements(By.CSS_SELECTOR, ".picture g.foreign")
        press(driver, Keys.ARROW_LEFT)
        assert now.text == seen[-2]
        press(driver, Keys.HOME)
        assert now.text == seen[0]
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            assert axe(driver) == []
        driver.get(strange.as_uri())
        assert complaints(driver) == []
        assert driver.title == "kpatch: </script><img src=x onerror=x()>.ko"
        assert len(driver.find_elements(By.TAG_NAME, "script")) == 1


def test_the_command_writes_the_page_and_leaves_the_module_alone(tmp_path: Path) -> None:
    module, output = tmp_path / "kqemu.ko", tmp_path / "report.html"
    module.write_bytes((SAMPLES / "kqemu-7.ko").read_bytes())
    done = run("report", "--no-verify", "--json", module, "-o", output)
    assert done.code == 0
    (found,) = done.document["files"]
    assert output.read_text(encoding="utf-8") == page(found)
    assert module.read_bytes() == (SAMPLES / "kqemu-7.ko").read_bytes()
    assert run("apply", "--no-verify", module).code == 0
    done = run("report", "--no-verify", "--json", module)
    again = done.document["files"][0]
    assert again["trampolines"] == found["trampolines"]
    assert again["difference"]["hunks"] == found["difference"]["hunks"]


def test_without_a_name_the_page_gets_the_modules_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "kqemu.ko").write_bytes((SAMPLES / "kqemu-7.ko").read_bytes())
    call = ("report", "--no-verify", "in/kqemu.ko")
    assert run(*call).complaint == "in/kqemu.ko: the page is kqemu.ko.html"
    page_of = tmp_path / "kqemu.ko.html"
    text = page_of.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    page_of.write_text("mine")
    done = run(*call)
    assert (done.code, page_of.read_text()) == (2, "mine")
    page_of.unlink()
    page_of.symlink_to("nowhere")
    assert run(*call).code == 2 and not (tmp_path / "nowhere").exists()
    assert run(*call, "-o", "kqemu.ko.html").code == 0
    assert (tmp_path / "nowhere").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("kqemu-7.ko", "-o", "kqemu-7.ko"), 2),
        (("other.ko", "-o", "r.html"), 11),
        (("kqemu-7-unknown.ko", "-o", "r.html"), 18),
    ],
)
def test_a_refusal_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    for name in ("kqemu-7.ko", "other.ko"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    done = run("report", *arguments)
    assert (done.code, done.complaint.startswith("kpatch: ")) == (code, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kqemu-7.ko", "other.ko"]
    assert (tmp_path / "kqemu-7.ko").read_bytes() == (SAMPLES / "kqemu-7.ko").read_bytes()
