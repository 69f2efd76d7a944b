"""``kpatch explain``: the bug on one file, or a word that kpatch prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from kpatch import storage as files
from kpatch.cli import completion, progress, terms
from kpatch.cli.common import (
    Signatures,
    console_options,
    each_file,
    kernel_options,
    signatures_option,
)
from kpatch.cli.console import Console
from kpatch.containers import target as targets
from kpatch.elf.module import Module, read_module
from kpatch.errors import DONE, UsageError
from kpatch.kernel.host import Host
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.assessment import Means
from kpatch.report import documents
from kpatch.report.explain_text import explanation, sentence, wrapped
from kpatch.report.file_documents import explained
from kpatch.report.fold import NARROWEST, WIDEST
from kpatch.report.typed import Explained, FileEntry
from kpatch.report.typed_proof import CounterexampleFacts

_FILES = (*files.MODULE_SUFFIXES, *files.PACKAGE_SUFFIXES)
"""What ends like that is no word: a file that is not there is said to be missing."""


@click.command("explain")
@click.argument("words", nargs=-1, metavar="FILE|TERM", shell_complete=completion.files_or_terms)
@click.option("--list", "list_terms", is_flag=True, help="Name every term and page.")
@kernel_options
@signatures_option
@console_options
def command(
    words: tuple[str, ...], list_terms: bool, host: Host, signatures: Signatures, console: Console
) -> int:
    """Say what the bug is on FILE, with its own addresses and code, or what TERM means.

    TERM is a word that kpatch prints: a verdict, a scenario, a property, TR 0x48, schedule, exit
    code 17; or a kernel: 8-CURRENT, 800046. What is a file is taken as one. Without a match the
    nearest terms are named. A page of the documentation, as docs/limits.md or limits, is printed.
    """
    if list_terms:
        return _answer(explained("terms", "term", terms.to_choose_from()), console)
    about = _asked(words)
    path = Path(about)
    if terms.is_page(about) and not about.endswith(_FILES):
        return _answer(terms.page_named(about), console)
    if path.is_file() or "/" in about or about.endswith(_FILES):

        def explain(place: Path) -> tuple[list[FileEntry], int]:
            found: list[FileEntry] = []
            for inside in targets.open_target(place).modules:
                module = read_module(inside.data, inside.name)
                found.append(_of_module(module, str(place), host, signatures, console))
            return found, DONE

        return each_file("explain", [path], console, explain)
    return _answer(terms.term_named(about), console)


def _asked(words: tuple[str, ...]) -> str:
    """The one file, or the term, whose words a shell has taken apart. Raises UsageError."""
    if not words:
        raise UsageError("no file and no term is named", todo="'kpatch explain --list' names terms")
    if len(words) > 1 and any(word.endswith(_FILES) or Path(word).is_file() for word in words):
        raise UsageError("several files, or a file and a term", todo="name one file, or a term")
    return " ".join(words)


def _answer(document: Explained, console: Console) -> int:
    if console.json:
        console.document(documents.envelope("explain", [document], DONE))
    else:
        wide = document["verdict"] == "page"  # It has tables: it is not filled anew.
        lines = document["lines"]
        if wide:
            console.exact("\n".join(lines))
        else:
            console.data(wrapped(lines, _width()))
    return DONE


def _width() -> int:
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((80, 24)).columns))


def _of_module(
    module: Module, path: str, host: Host, signatures: Signatures, console: Console
) -> Explained:
    name = module.name
    found = assess(module, host=host, signatures=signatures)
    verdict, lines, comes_back = found.verdict, [], True
    if found.is_patched and found.before is not None:
        means = found.before.means
        about = "what it was"
        if means is not Means.ORIGINAL:  # which is laid out anew
            about = "the module without the patch, in which file offsets are others"
        word = verdict.value.upper()
        lines = [f"{name}: {word}. {sentence(found.reason)} This is about {about}:", ""]
        comes_back = means is not Means.REBUILT
        found = assess(found.before.module, host=host, signatures=signatures)
    document = documents.assessment(found)
    example = _counterexample(found, console)
    lines += explanation(
        document,
        example,
        path,
        is_patched=bool(lines),
        comes_back=comes_back,
        given=console.given,
        kept_for=files.kept_for(Path(path)),
    )
    if not console.json:
        console.data(wrapped(lines, _width()))
    return explained(name, verdict.value, lines)


def _counterexample(found: Assessment, console: Console) -> CounterexampleFacts | None:
    """What the unpatched module does on two CPUs; None where that is not known to be wrong."""
    if found.verdict is not Verdict.AFFECTED or found.match is None:
        return None
    from kpatch.proving import case_of, prove_case
    from kpatch.verify.explore import MemoryModel
    from kpatch.verify.machine.scenarios import LEAVE
    from kpatch.verify.proof.obligations import suite

    # The refusal, if there is one, is about patching it, not about running it.
    case = case_of(found._replace(refusal=None))
    with progress.shown(console, 1, found.module.name) as proving:
        proof = prove_case(case, proving, suite((LEAVE,), (2,), (MemoryModel.SC,)))
    from kpatch.report.proof_documents import proof_document

    explored = proof_document(proof)["explored"]
    found_here = [one for run in explored for one in run["counterexamples"]]
    return next((one for one in found_here if one["prop"] == "own-tss"), None)
