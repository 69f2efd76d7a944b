"""``kpatch scan``: what a file is, whether it is affected, and on what that rests."""

from __future__ import annotations

from pathlib import Path

import click

from kpatch import repair
from kpatch import storage as files
from kpatch.abi.host import Host
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
from kpatch.errors import DONE, FINDING
from kpatch.patch.assess import Assessment, Verdict
from kpatch.report import documents
from kpatch.report.documents import Document
from kpatch.report.scan_text import scan_text

_FINDINGS = {Verdict.AFFECTED, Verdict.CHANGED, Verdict.UNKNOWN_BUILD}


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

    def scan(path: Path) -> tuple[list[Document], int]:
        found: list[Document] = []
        code = DONE
        for inside in targets.open_target(path).modules:
            result = repair.scan(inside.data, inside.name, host=host, signatures=signatures)
            document = documents.assessment(result)
            found.append(document)
            code = max(code, _exit_code(result))
            if not console.json:
                console.data(scan_text(document, console.style, verbose=console.verbose))
        return found, code

    return each_file("scan", files.expand(paths), console, scan)


def _exit_code(result: Assessment) -> int:
    fix = result.source_fix
    unsound = result.verdict is Verdict.SOURCE_FIXED and fix is not None and fix.variant != "C"
    return FINDING if result.verdict in _FINDINGS or unsound else DONE
