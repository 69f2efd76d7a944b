#!/usr/bin/env python3
"""Draw the rooms of kpatch and the arrows between them, from the imports: docs/rooms.svg.

    python3 docs/tools/rooms.py          print the picture

Only what the code imports is drawn; tests/test_architecture.py keeps the file current. The rooms
of one line stand side by side; an arrow leads from a room down to one that it imports. Arrows that
a longer way makes plain are left out (the transitive reduction).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parents[2] / "kpatch"
ATTIC: Final = ("__init__", "__main__")
GROUND: Final = ("units", "errors", "data", "digest", "interrupts")
"""Imported by nearly everybody: drawn as one room without arrows."""

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 128, 34, 22, 46, 20


def modules_of(room: str) -> list[Path]:
    """The files of a room."""
    file = PACKAGE / f"{room}.py"
    return [file] if file.is_file() else sorted((PACKAGE / room).rglob("*.py"))


def rooms() -> list[str]:
    """Every room, by name."""
    found = {path.stem for path in PACKAGE.glob("*.py")}
    found |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return sorted(found - {*ATTIC, *GROUND})


def imported(path: Path) -> Iterator[str]:
    """The rooms that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kpatch":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else (alias.name for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """Which room imports which others."""
    known = set(rooms())
    return {
        room: ({name for path in modules_of(room) for name in imported(path)} & known) - {room}
        for room in known
    }


def reduced(all_arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that a longer way makes plain."""

    def below(room: str) -> set[str]:
        return set().union(*({each} | below(each) for each in all_arrows[room]))

    return {
        room: {each for each in to if not any(each in below(o) for o in to - {each})}
        for room, to in all_arrows.items()
    }


def floors(all_arrows: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by height: each stands just above the highest room that it imports."""
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((of(each) for each in all_arrows[room]), default=-1)
        return height[room]

    found: list[list[str]] = [[] for _ in range(1 + max(map(of, all_arrows)))]
    for room in sorted(all_arrows):
        found[height[room]].append(room)
    return found


def picture() -> str:
    """The SVG."""
    found = arrows()
    lines = floors(found)
    columns = max(len(line) for line in lines)
    width = 2 * EDGE + columns * WIDTH + (columns - 1) * GAP_X
    height = 2 * EDGE + (len(lines) + 1) * HEIGHT + len(lines) * GAP_Y
    place: dict[str, tuple[float, float]] = {}
    for number, line in enumerate(lines):
        left = (width - len(line) * WIDTH - (len(line) - 1) * GAP_X) / 2
        top = height - EDGE - (number + 2) * HEIGHT - (number + 1) * GAP_Y
        for index, room in enumerate(line):
            place[room] = (left + index * (WIDTH + GAP_X), top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        "<title>The rooms of kpatch, and who imports whom</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#5b6b7c"/></marker></defs>',
    ]
    for room, to in sorted(reduced(found).items()):
        for each in sorted(to):
            (x, y), (u, v) = place[room], place[each]
            # A long arrow straight down would run under the rooms between.
            bend = WIDTH if v - y > HEIGHT + GAP_Y and abs(u - x) < WIDTH / 2 else 0
            parts.append(
                f'<path d="M{x + WIDTH / 2:g} {y + HEIGHT:g}'
                f"Q{(x + u + WIDTH) / 2 + bend:g} {(y + HEIGHT + v) / 2:g} "
                f'{u + WIDTH / 2:g} {v:g}" '
                'stroke="#5b6b7c" fill="none" marker-end="url(#tip)"/>'
            )
    for room, (x, y) in sorted(place.items()):
        name = room if (PACKAGE / f"{room}.py").is_file() else f"{room}/"
        parts.append(box(name, x, y, WIDTH, "#e8f0f8"))
    ground = ", ".join(GROUND)
    parts.append(box(ground, EDGE, height - EDGE - HEIGHT, width - 2 * EDGE, "#eeeeee"))
    return "\n".join([*parts, "</svg>", ""])


def box(text: str, x: float, y: float, width: float, colour: str) -> str:
    """A room with its name."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="5" fill="{colour}" '
        'stroke="#33475b"/>'
        f'<text x="{x + width / 2:g}" y="{y + HEIGHT / 2 + 5:g}" text-anchor="middle" '
        f'fill="#1b2733">{text}</text>'
    )


if __name__ == "__main__":
    print(picture(), end="")
