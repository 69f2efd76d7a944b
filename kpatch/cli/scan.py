"""``kpatch scan``: what a file is, whether it is affected, and on what that rests."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from kpatch import storage as files
from kpatch.cli import workers
from kpatch.cli.common import (
    FILES,
    Console,
    Signatures,
    console_options,
    each_file,
    kernel_options,
    signatures_option,
)
from kpatch.containers import target as targets
from kpatch.elf.module import read_module
from kpatch.errors import DONE, FINDING, KpatchError
from kpatch.kernel.host import Host
from kpatch.patch.fast_path import is_nothing_for_us
from kpatch.report import documents
from kpatch.report.scan_text import not_kqemu_text, scan_text

if TYPE_CHECKING:
    from kpatch.patch.assess import Assessment
    from kpatch.report.documents import Document


@click.command("scan")
@FILES
@kernel_options
@signatures_option
@console_options
def command(paths: tuple[Path, ...], host: Host, signatures: Signatures, console: Console) -> int:
    """Say what each FILE is: affected, patched, fixed by source, not affected, not kqemu.

    FILE is a module, a .ko.gz or a package; a folder stands for all of them in it. Nothing is
    changed. The exit code is 0 if nothing needs attention, 1 if something is affected, unknown,
    changed or fixed by source unsoundly, and higher where a file could not be read.
    """
    chosen = list(files.expand(paths))
    by_bytes_first = not (console.json or console.verbose or signatures)
    found = workers.in_order(partial(_scan, host, signatures, console, by_bytes_first), chosen)

    def told(path: Path) -> tuple[list[Document], int]:
        outcome = next(found)
        if isinstance(outcome, KpatchError):
            raise outcome
        for text in outcome.texts:
            console.data(text)
        return outcome.documents, outcome.code

    return each_file("scan", chosen, console, told)


class _Scanned(NamedTuple):
    """What there is to say of one file: to print, as documents, and its exit code."""

    texts: list[str]
    documents: list[Document]
    code: int


def _scan(
    host: Host, signatures: Signatures, console: Console, by_bytes_first: bool, path: Path
) -> _Scanned:
    """Scan one file. With ``by_bytes_first`` what is nothing for kpatch is told by its bytes."""
    done = _Scanned([], [], DONE)
    for inside in targets.open_target(path).modules:
        module = read_module(inside.data, inside.name)
        refusal = is_nothing_for_us(module) if by_bytes_first else None
        if refusal is not None:
            done.texts.append(not_kqemu_text(inside.name, refusal, console.style))
            done.documents.append(documents.counted_only(inside.name))
            continue
        # Imported here: most files in a folder do not come this far.
        from kpatch.patch.assess import assess

        result = assess(module, host=host, signatures=signatures)
        document = documents.assessment(result)
        code = max(done.code, _exit_code(result))
        done.documents.append(document)
        if not console.json:
            done.texts.append(
                scan_text(document, console.style, verbose=console.verbose, path=str(path))
            )
        done = done._replace(code=code)
    return done


def _exit_code(result: Assessment) -> int:
    from kpatch.patch.assess import Verdict

    fix = result.source_fix
    unsound = result.verdict is Verdict.SOURCE_FIXED and fix is not None and fix.variant != "C"
    findings = {Verdict.AFFECTED, Verdict.CHANGED, Verdict.UNKNOWN_BUILD}
    other_kernel = result.is_patched and result.refusal is not None
    return FINDING if result.verdict in findings or unsound or other_kernel else DONE
