"""docs/architecture.md: the tour leads to files that are there, and the picture is current."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST_LINES = 110
"""Of code in a stop of the tour: with its docstrings a page or two."""


def test_the_picture_is_what_the_imports_say() -> None:
    drawn = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "tools" / "rooms.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    shipped = (ROOT / "docs" / "rooms.svg").read_text()
    assert drawn == shipped, "run: python3 docs/tools/rooms.py > docs/rooms.svg"


def test_the_tour_has_ten_stops_of_a_page() -> None:
    stops = re.findall(r"^\| (\d+) \| `(kpatch/[^`]*)` \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in stops] == list(range(1, 11))
    for _, file in stops:
        assert 20 <= lines_of_code(ROOT / file) <= MOST_LINES, file


def lines_of_code(path: Path) -> int:
    """Lines but for blank ones, comments, docstrings and imports."""
    text = path.read_text(encoding="utf-8")
    aside: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if words or isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.stmt)
            aside |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(number not in aside and line.strip()[:1] not in ("", "#") for number, line in lines)


def test_every_room_stands_in_the_table() -> None:
    names = {path.stem for path in (ROOT / "kpatch").glob("*.py")}
    names |= {path.parent.name for path in (ROOT / "kpatch").glob("*/__init__.py")}
    names -= {"__init__", "__main__", "units", "errors", "data", "digest", "entry", "interrupts"}
    named = set(re.findall(r"`(\w+)/?`", PAGE))
    assert names <= named, names - named
