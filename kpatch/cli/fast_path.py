"""``kpatch scan FILE`` of one file, without what the other ways to call kpatch need: click."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from kpatch.cli.scanned import Wish, scan_file
from kpatch.report.style import Style


def scan_one(arguments: list[str]) -> int | None:
    """Say what the one file is, and return the exit code; None where it needs more than this.

    Then nothing was printed, and the other way says everything, errors too.
    """
    if len(arguments) != 1 or arguments[0].startswith("-") or not arguments[0]:
        return None
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return None
    is_terminal = sys.stdout.isatty()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    try:
        found = scan_file(Wish(Style(is_terminal and not plain)), Path(arguments[0]))
    except Exception:
        return None
    text = "\n".join(found.texts)
    if is_terminal:
        # Imported here: what is piped does not pay for them.
        import shutil

        from kpatch.report.fold import fold

        text = fold(text, shutil.get_terminal_size().columns)
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        from kpatch.cli import boundary

        return boundary.output_lost(error)
    return found.code
