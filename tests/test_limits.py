"""What docs/limits.md says is read at most, the code says too, with the same figures."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = (ROOT / "docs/limits.md").read_text()

LIMITS: Final = {
    ("storage/files.py", "LARGEST"): "a file",
    ("containers/gzip.py", "MOST_BYTES"): "a module that is compressed by itself, unpacked",
    ("containers/gzip.py", "MOST_TEXTS"): "the name and the comment",
    ("containers/compression.py", "MAX_UNPACKED"): "a package, unpacked",
    ("containers/compression.py", "FREE_UNPACKED"): "a package, unpacked",
    ("containers/compression.py", "MAX_RATIO"): "a package, unpacked",
    ("kernel/kernelfile.py", "INFLATE_LIMIT"): "a compressed kernel file, unpacked",
    ("containers/compression.py", "XZ_MEMORY"): "memory that unpacking may take",
    ("containers/compression.py", "ZSTD_WINDOW"): "memory that unpacking may take",
    ("elf/klink.py", "LARGEST_BLOCK"): "memory that a module takes when the kernel loads it",
    ("containers/frames.py", "MAX_STREAMS"): "streams, frames or members",
    ("containers/package/tar.py", "MAX_MEMBERS"): "members of a package",
    ("containers/package/tar.py", "MAX_CONTENTS"): "a module in a package",
    ("containers/package/tar.py", "MAX_EXTENSION"): "one extended header of an archive",
    ("containers/package/tar.py", "MAX_ALL_EXTENSIONS"): "one extended header of an archive",
    ("containers/package/tar.py", "MAX_NAME"): "a name in an archive",
    ("kqemu/codescan.py", "_MOST_MARKS"): "places in the code of a module",
    ("kqemu/codescan.py", "_BYTES_A_MARK"): "places in the code of a module",
    ("kqemu/codescan.py", "_MOST_CALLS"): "places in it that look like calls",
    ("elf/content.py", "MOST_CONSTANTS"): "constants that relocations of a module point into",
    ("elf/debuginfo.py", "MOST_UNPACKED"): "a kernel's debugging information, unpacked",
    ("elf/debuginfo.py", "_MOST_BYTES"): "units of it that name struct pcpu or common_tss",
    ("containers/package/archive.py", "MAX_METADATA"): "a packing list or manifest",
    ("containers/package/ucl.py", "MAX_DEPTH"): "a packing list or manifest",
    ("containers/package/manifest.py", "MOST_VALUES"): "a packing list or manifest",
    ("entry.py", "MOST_TEXT"): "a signature file",
    ("entry.py", "MOST_LINE"): "a signature file",
}
"""Every limit that refuses an input, and the beginning of its row."""

_PACKED: Final = "containers/packed.py", "unpack", "MOST_BYTES"
_TOO_LARGE: Final = "containers/compression.py", "_too_large", "most"
_UNREAD: Final = "containers/compression.py", "_unread", "most"
_TOO_MANY: Final = "kqemu/codescan.py", "_too_many", "most"

MADE_BY: Final = {
    "MOST_BYTES": _PACKED,
    "MAX_UNPACKED": _TOO_LARGE,
    "FREE_UNPACKED": _TOO_LARGE,
    "MAX_RATIO": _TOO_LARGE,
    "INFLATE_LIMIT": _TOO_LARGE,
    "MAX_STREAMS": ("containers/compression.py", "_pieces", "MAX_STREAMS"),
    "XZ_MEMORY": _UNREAD,
    "ZSTD_WINDOW": _UNREAD,
    "_MOST_MARKS": _TOO_MANY,
    "_BYTES_A_MARK": _TOO_MANY,
    "_MOST_CALLS": _TOO_MANY,
}
"""Limits whose messages a function makes, for several of them or elsewhere, and what it shows."""

ELSEWHERE: Final = {
    "MAX_EXTENSIONS": "extended headers in front of one member, each of another kind: told apart",
    "MAX_SHOWN": "how much of a name is shown",
    "_DETAIL": "how much of a foreign message is shown",
    "_MOST_COPIES": "kept copies that are looked at",
    "_MOST_EXTRA": "the format's own bound",
    "_MOST_LINKS": "the system's own bound",
    "_MOST_LTR": "places that are shown",
    "_MOST_NAMES": "of a folder, looked at for the one that was meant",
    "_MOST_PLACES": "from there on no unit of debugging information is passed over",
}
"""Figures of the same look that refuse no input."""

_LOOKS_LIKE_ONE: Final = re.compile(r"_?(MAX|MOST|LARGEST)(_\w+)?|\w+_LIMIT")
_ROOMS: Final = ("storage", "containers", "kqemu", "elf")


def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / "kpatch" / file).read_text())


def _function(file: str, name: str) -> ast.FunctionDef:
    (found,) = (
        node
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return found


def _value(file: str, name: str) -> int:
    for node in _tree(file).body:
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
        if isinstance(target, ast.Name) and target.id == name:
            assert isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None
            return int(eval(compile(ast.Expression(node.value), file, "eval")))
    raise AssertionError(f"{file} has no {name}")


def _row(beginning: str) -> str:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {beginning}"))
    return row


def _spoken(value: int) -> set[str]:
    """The ways in which a page says a number."""
    ways = {f"{value:,}"}
    for shift, unit in ((20, "MiB"), (10, "KiB")):
        if value % (1 << shift) == 0:
            ways.add(f"{value >> shift} {unit}")
    return ways


def _figures(row: str) -> set[str]:
    return set(re.findall(r"\d+(?:,\d{3})*(?: [MK]iB)?", row))


def _shown_by(tree: ast.AST) -> set[str]:
    """The names whose values stand in a text that is put together."""
    return {
        name.id
        for text in ast.walk(tree)
        if isinstance(text, ast.JoinedStr)
        for name in ast.walk(text)
        if isinstance(name, ast.Name)
    }


@pytest.mark.parametrize(("file", "name"), LIMITS)
def test_a_limit_of_the_code_stands_in_the_page_and_in_its_message(file: str, name: str) -> None:
    row = _row(LIMITS[file, name])
    assert _spoken(_value(file, name)) & _figures(row), row
    if name in MADE_BY:
        home, maker, shown = MADE_BY[name]
        assert shown in _shown_by(_function(home, maker))
    else:
        assert name in _shown_by(_tree(file)), f"no message of {file} shows {name}"


def test_every_figure_of_the_table_is_one_of_the_code() -> None:
    table = PAGE.partition("| what | at most |")[2].partition("\n\n")[0]
    said = {figure for row in table.splitlines()[2:] for figure in _figures(row)}
    known = {way for limit in LIMITS for way in _spoken(_value(*limit))}
    assert said <= known, said - known


def test_no_limit_of_a_room_that_reads_files_is_missing() -> None:
    found = {
        node.target.id
        for room in _ROOMS
        for path in (ROOT / "kpatch" / room).rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if _LOOKS_LIKE_ONE.fullmatch(node.target.id)
    }
    assert found <= {name for _, name in LIMITS} | ELSEWHERE.keys(), found
