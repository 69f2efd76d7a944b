"""``benchmarks/RESULTS.md``: what each benchmark printed last, when, on what kind of machine."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
_TITLE = (
    "# Results\n\n"
    "Made by `make bench`; a benchmark that runs alone renews its own section. Ratios count: the\n"
    "figures are those of the machine named, with whatever else ran on it.\n"
)
_SECTION = re.compile(r"^## (\w+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def keep(name: str, text: str) -> None:
    """Put what the benchmark ``name`` printed into its section."""
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    sections = {found[1]: found[0].rstrip() for found in _SECTION.finditer(old)}
    today = datetime.now(tz=UTC).date().isoformat()
    sections[name] = f"## {name}\n\n{today}, {_machine()}\n\n```\n{text.rstrip()}\n```"
    RESULTS.write_text("\n\n".join((_TITLE.rstrip(), *sections.values())) + "\n", encoding="utf-8")


def _machine() -> str:
    """The kind of machine, without its name."""
    cores = os.cpu_count() or 1
    return (
        f"{platform.system()} on {platform.machine()}, {cores} core{'s' * (cores > 1)}, "
        f"load {os.getloadavg()[0] / cores:.1f} a core, {platform.python_implementation()} "
        f"{platform.python_version()}"
    )
