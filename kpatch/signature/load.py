"""Reads signature files. Schema errors name the file and the entry, pattern errors the line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kpatch.data import signatures_folder
from kpatch.errors import SignatureError
from kpatch.signature.model import (
    Example,
    ImageRule,
    LockRule,
    Signature,
    SiteRule,
    TrampolineRule,
)
from kpatch.signature.pattern import Names, parse_pattern, parse_trampoline
from kpatch.units import ImageOffset, SectionOffset

SCHEMA: Final = 1
PARAMETERS: Final = frozenset({"cpuid", "tss_stride"})
"""Names that a trampoline takes from the host kernel's ABI, not from the match."""

FILES: Final = "kqemu-*.toml"

Strings = list[str]

_TABLES: Final[Mapping[str, Mapping[str, object]]] = {
    "": {
        "schema": int,
        "id": str,
        "title": str,
        "machine": str,
        "examples": list,
        "names": dict,
        "image": dict,
        "site": list,
        "lock": dict,
        "code": dict,
        "window": dict,
    },
    "names": {"registers": Strings, "offsets": Strings},
    "image": {
        "symbol": str,
        "header": Strings,
        "ascending": Strings,
        "first_page": int,
        "anchor": str,
    },
    "site": {
        "name": str,
        "from": str,
        "key": str,
        "max_gap": int,
        "pattern": str,
        "trampoline": dict,
    },
    "trampoline": {"symbol": str, "clobbers": Strings, "code": str},
    "lock": {"symbol": str, "size": int, "section": str, "page": int},
    "code": {"section": str, "align": int},
    "window": {"bound": int},
}
_OPTIONAL: Final[Mapping[str, Mapping[str, object]]] = {"site": {"to": str}}

_POWERS_OF_TWO: Final = frozenset({"align", "page"})
MACHINE: Final = "x86_64"


def load_signatures() -> tuple[Signature, ...]:
    """Every shipped signature, by file name. Raises SignatureError."""
    return tuple(
        parse_signature(path.read_text(encoding="utf-8"), path.name)
        for path in sorted(Path(signatures_folder()).glob(FILES))
    )


def parse_signature(text: str, file: str) -> Signature:
    """Parse one signature file. Raises SignatureError with the file and the entry or line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SignatureError(f"not TOML: {error}", where=file, todo="mend the file") from error
    _check(document, "", file)
    if document["schema"] != SCHEMA:
        raise _wrong(file, f"schema {document['schema']} is not {SCHEMA}")
    if document["machine"] != MACHINE:
        raise _wrong(file, f"machine '{document['machine']}' is not {MACHINE}")
    for table in ("names", "image", "lock", "code", "window"):
        _check(document[table], table, file)
    registers, offsets = (frozenset(document["names"][kind]) for kind in ("registers", "offsets"))
    if registers & (offsets | PARAMETERS) or offsets & PARAMETERS:
        raise _wrong(file, "[names] gives one name two meanings")
    names = Names(registers, offsets | PARAMETERS, file)
    lines = _block_lines(text)
    sites = []
    for table in document["site"]:
        _check(table, "site", file)
        _check(table["trampoline"], "trampoline", file)
        sites.append(_site(table, names, lines, document["image"]["header"], file))
    if len({each.name for each in sites}) != len(sites) or not sites:
        raise _wrong(file, "it has no [[site]], or two of one name")
    image = document["image"]
    if not set(image["ascending"]) <= set(image["header"]) or len(image["ascending"]) < 2:
        raise _wrong(file, "image.ascending does not name two or more entries of image.header")
    return Signature(
        id=document["id"],
        title=document["title"],
        file=file,
        image=ImageRule(
            image["symbol"],
            tuple(image["header"]),
            tuple(image["ascending"]),
            image["first_page"],
            image["anchor"],
        ),
        sites=tuple(sites),
        lock=LockRule(**document["lock"]),
        code_section=document["code"]["section"],
        code_align=document["code"]["align"],
        window_bound=document["window"]["bound"],
        examples=tuple(_example(each, sites, file) for each in document["examples"]),
    )


def _site(
    table: dict[str, Any], names: Names, lines: list[int], header: list[str], file: str
) -> SiteRule:
    for anchor in (table["from"], table.get("to")):
        if anchor is not None and anchor not in header:
            raise _wrong(file, f"site '{table['name']}': '{anchor}' is not in image.header")
    if len(lines) < 2:
        raise _wrong(file, "write pattern and code as ''' blocks, each behind its key")
    pattern = parse_pattern(table["pattern"], names, lines.pop(0))
    trampoline = table["trampoline"]
    return SiteRule(
        name=table["name"],
        start=table["from"],
        stop=table.get("to"),
        key=table["key"],
        max_gap=table["max_gap"],
        pattern=pattern,
        trampoline=TrampolineRule(
            trampoline["symbol"],
            frozenset(trampoline["clobbers"]),
            parse_trampoline(trampoline["code"], names, lines.pop(0)),
        ),
    )


def _example(table: Any, sites: list[SiteRule], file: str) -> Example:
    wanted = {"file", "image"} | {each.name for each in sites}
    if not isinstance(table, dict) or set(table) != wanted:
        raise _wrong(file, f"an example has the keys {', '.join(sorted(wanted))}")
    for key, value in table.items():
        kind = str if key == "file" else int
        if not _is(value, kind):
            raise _wrong(file, f"example: '{key}' is not {_WORDS[kind]}")
    return Example(
        table["file"],
        SectionOffset(table["image"]),
        {each.name: ImageOffset(table[each.name]) for each in sites},
    )


def _block_lines(text: str) -> list[int]:
    """The line on which each ''' block's first line of text stands, in file order."""
    opened = re.compile(r"^(pattern|code) = '''\s*$")
    return [
        number + 1 for number, line in enumerate(text.split("\n"), start=1) if opened.match(line)
    ]


def _check(table: Any, name: str, file: str) -> None:
    required, optional = _TABLES[name], _OPTIONAL.get(name, {})
    place = f"[{name}] " if name else ""
    if not isinstance(table, dict):
        raise _wrong(file, f"{place}is not a table")
    for key, kind in {**required, **optional}.items():
        if key in required and key not in table:
            raise _wrong(file, f"{place}lacks '{key}'")
        if key in table and not _is(table[key], kind):
            raise _wrong(file, f"{place}'{key}' is not {_WORDS[kind]}")
        if key in _POWERS_OF_TWO and table[key].bit_count() != 1:
            raise _wrong(file, f"{place}'{key}' is not a power of two")
    for key in table:
        if key not in required and key not in optional:
            raise _wrong(file, f"{place}'{key}' is not a known key")


_WORDS: Final[Mapping[object, str]] = {
    str: "a text",
    int: "a number from 0 on",
    list: "a list",
    dict: "a table",
    Strings: "a list of different texts",
}


def _is(value: Any, kind: object) -> bool:
    if kind == Strings:
        return (
            isinstance(value, list)
            and all(isinstance(each, str) for each in value)
            and len(set(value)) == len(value)
        )
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(kind, type) and isinstance(value, kind)


def _wrong(file: str, what: str) -> SignatureError:
    return SignatureError(what, where=file, todo="mend the signature")
