"""Binds the verifier to the command line: what is proven, progress, and the error."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import click

from kpatch.abi.detect import detect
from kpatch.abi.identify import identify
from kpatch.cli.common import Console, is_terminal
from kpatch.elf.module import Module
from kpatch.errors import OtherModuleError, UnknownModuleError, VerificationError
from kpatch.patch.note import read_note, seal_holds
from kpatch.report.documents import Document
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Match
from kpatch.signature.scan import find_any
from kpatch.verify.proof.fixes import FixModel, model_of
from kpatch.verify.proof.obligations import Obligation, default_suite
from kpatch.verify.proof.verdict import Bounds, Case, Proof
from kpatch.verify.proof.workers import Standing
from kpatch.verify.proof.workers import prove as run_proof

_DEFAULT_CPUID = 0x34
_CHANGED = "the file was changed since kpatch patched it; this is about the file as it is now"


def prove(patched: Module, original: Module, console: Console) -> Document:
    """The proof that ``apply`` wants before it replaces a file.

    Raises VerificationError for whatever is not proven, and KeyboardInterrupt again: an
    interrupt is meant for the whole command, not for this file alone.
    """
    proof = explore(case_of(patched, original), default_suite(with_maxcpu=False), Bounds(), console)
    if proof.is_interrupted:
        raise KeyboardInterrupt
    document = proof.to_document()
    if proof.verdict != "proven":
        raise not_proven(document, patched.name)
    return document


def case_of(module: Module, original: Module) -> Case:
    """What there is to prove about a module. Raises the refusals of the signature layer, and
    VerificationError for a patch that was made for other kernels than the module.
    """
    match = _match(original)
    note = read_note(module)
    if note is not None:
        wanted = detect(original).cpuid
        if wanted is not None and wanted != note.cpuid:
            raise VerificationError(
                f"the patch takes cpuid from {note.cpuid:#x} of struct pcpu, but the kernels that "
                f"this module is for have it at {wanted:#x}",
                where=module.name,
                todo="take the patch back with 'kpatch revert' and apply it again",
            )
        changed = "" if seal_holds(module.data, note) else _CHANGED
        return Case(module, original, match, note.cpuid, FixModel(caveat=changed))
    cpuid = detect(module).cpuid or _DEFAULT_CPUID
    return Case(module, original, match, cpuid, model_of(module))


def _match(original: Module) -> Match:
    try:
        return find_any(original, load_signatures())
    except UnknownModuleError as error:
        if identify(original).is_kqemu:
            raise
        raise OtherModuleError(error.what, where=error.where, todo=error.todo) from None


def explore(
    case: Case,
    obligations: Sequence[Obligation],
    bounds: Bounds,
    console: Console,
    jobs: int = 0,
) -> Proof:
    """Run a proof on all cores, with its progress on a terminal."""
    line = _Line(is_terminal(sys.stderr) and not console.quiet and not console.json)
    # The engines of the proof before are garbage in cycles, and each holds much address space.
    gc.collect()
    try:
        return run_proof(
            case, obligations, bounds, jobs=jobs or os.cpu_count() or 1, report=line.show
        )
    finally:
        line.clear()


def not_proven(document: Document, name: str) -> VerificationError:
    """The error for a proof that is not one."""
    failed = [each for each in document["explored"] if not each["holds"]]
    wrong = [each for each in failed if each["kind"] == "obligation" and each["counterexamples"]]
    todo = "nothing was written; 'kpatch diff' and 'kpatch verify' show more"
    if document["verdict"] == "withheld":
        names = ", ".join(
            f"{each['name']} ({each['model']})"
            for each in failed
            if each["kind"] == "control" and not each["bound"]
        )
        what = f"the verdict is withheld: a control was not refuted: {names}"
    elif wrong:
        found = wrong[0]["counterexamples"][0]
        what = f"not right: {wrong[0]['name']}: {found['prop']}: {found['what']}"
    elif failed:
        what = f"not proven: {failed[0]['name']}: {failed[0]['bound']} reached"
    elif document["window"] and not document["window"]["holds"]:
        what = "the window with a foreign TSS is longer than the declared bound"
    else:
        what = f"not proven: {len(document['missing'])} explorations were not run"
    return VerificationError(what, where=name, todo=todo)


class _Line:
    """One line on the terminal that is written over and over."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._width = 0

    def show(self, standing: Standing) -> None:
        """Show where the proof is."""
        if not self._wanted:
            return
        text = f"proving: {standing.done} of {standing.of}"
        progress = standing.progress
        if progress is not None:
            rate = progress.states / progress.seconds if progress.seconds else 0
            text += (
                f"; {standing.task}: {progress.states} states, {rate:.0f} a second, "
                f"frontier {progress.frontier}"
            )
        self._write(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._wanted and self._width:
            self._write("")
            click.echo("\r", nl=False, err=True)

    def _write(self, text: str) -> None:
        click.echo(f"\r{text:<{self._width}}", nl=False, err=True)
        self._width = len(text)
