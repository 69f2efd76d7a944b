"""``kpatch scan FILE...`` for files that are nothing for kpatch, before even click is imported."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from kpatch.elf.constants import ELF_MAGIC
from kpatch.elf.module import read_module
from kpatch.errors import DONE, KpatchError
from kpatch.patch.fast_path import is_nothing_for_us
from kpatch.report.scan_text import not_kqemu_text
from kpatch.report.style import Style
from kpatch.storage import read_bulk

_MOST_FILES = 8
"""More than these are worth the imports that the other way needs."""


def scan_by_bytes(names: list[str]) -> int | None:
    """Say of each file what it is, and return the exit code; None where one needs more than this.

    Then nothing was printed, and the other way says everything, errors too.
    """
    if not 0 < len(names) <= _MOST_FILES or any(name.startswith("-") or not name for name in names):
        return None
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return None
    is_terminal = sys.stdout.isatty()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    style = Style(is_terminal and not plain)
    texts: list[str] = []
    for name in names:
        try:
            data = read_bulk(Path(name))
            if data.part(0, len(ELF_MAGIC)) != ELF_MAGIC:
                return None
            refusal = is_nothing_for_us(read_module(data.whole(), name))
        except KpatchError:
            return None
        if refusal is None:
            return None
        texts.append(not_kqemu_text(name, refusal, style))
    text = "\n".join(texts)
    if is_terminal:
        # Imported here: what is piped does not pay for them.
        import shutil

        from kpatch.report.fold import fold

        text = fold(text, shutil.get_terminal_size().columns)
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        return None  # it happens again there, and is told
    return DONE
