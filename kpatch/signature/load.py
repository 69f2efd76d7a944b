"""Reads signature files. Schema errors name the file and the entry, pattern errors the line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from kpatch.data import signatures_folder
from kpatch.entry import Entry, parse, read_text
from kpatch.errors import SignatureError, UsageError
from kpatch.signature.language import KnownNames, parse_pattern, parse_trampoline
from kpatch.signature.model import (
    Example,
    ImageRule,
    LockRule,
    Signature,
    SiteRule,
    TrampolineRule,
)
from kpatch.units import ImageOffset, SectionOffset

SCHEMA: Final = 1
PARAMETERS: Final = frozenset({"cpuid", "tss_stride"})
"""Names that a trampoline takes from the host kernel's ABI, not from the match."""

FILES: Final = "*.toml"
NO_SIGNATURES: Final = frozenset({"kernels.toml"})
"""Data files of another kind, which may lie in the same folder."""

MACHINE: Final = "x86_64"


def load_signatures(folders: Iterable[Path] = ()) -> tuple[Signature, ...]:
    """The signatures in the user's ``folders``, then those that come with kpatch.

    Each folder's by file name. One with the id of a later one takes its place. Raises
    SignatureError for a broken file and for two files of a user with one id, UsageError for a
    folder that is not there or holds none.
    """
    found: dict[str, Signature] = {}
    for folder in folders:
        own = [read_signature(path, str(path)) for path in _files(folder)]
        if not own:
            raise UsageError(
                "no signature in this folder", where=str(folder), todo="put NAME.toml there"
            )
        for each in own:
            other = found.setdefault(each.id, each)
            if other is not each:
                raise SignatureError(
                    f"it has the id of {other.file}", where=each.file, todo="give it its own id"
                )
    for shipped in _shipped(signatures_folder()):
        found.setdefault(shipped.id, shipped)
    return tuple(found.values())


@cache
def _shipped(folder: Path) -> tuple[Signature, ...]:
    """Read once: a scan of a folder asks for them at every module."""
    return tuple(read_signature(path, path.name) for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    if not Path(folder).is_dir():
        raise UsageError(
            "there is no such folder", where=str(folder), todo="give the folder of the signatures"
        )
    return sorted(path for path in Path(folder).glob(FILES) if path.name not in NO_SIGNATURES)


def read_signature(path: Path, name: str) -> Signature:
    """One signature file, which messages call ``name``. Raises SignatureError."""
    return parse_signature(read_text(path, name), name)


def parse_signature(text: str, file: str) -> Signature:
    """Parse one signature file. Raises SignatureError with the file and the entry or line."""
    head = Entry(parse(text, file), file)
    if head.number("schema") != SCHEMA:
        raise head.error(f"schema must be {SCHEMA}")
    head.word("machine", (MACHINE,))
    names = _names(head.table("names"), file)
    image = _image(head.table("image"))
    lines = _block_lines(text)
    sites = [_site(entry, names, lines, image.header) for entry in head.tables("site")]
    if len({site.name for site in sites}) != len(sites):
        raise head.error("it has two [[site]] of one name")
    code = head.table("code")
    window = head.table("window")
    signature = Signature(
        id=head.text("id"),
        title=head.text("title"),
        file=file,
        image=image,
        sites=tuple(sites),
        lock=_lock(head.table("lock")),
        code_section=code.text("section"),
        code_align=code.power_of_two("align"),
        window_bound=window.number("bound"),
        examples=tuple(_example(table, sites) for table in head.tables("examples", least=0)),
    )
    for entry in (code, window, head):
        entry.finish()
    return signature


def _names(entry: Entry, file: str) -> KnownNames:
    registers, offsets = (frozenset(entry.texts(kind)) for kind in ("registers", "offsets"))
    entry.finish()
    if registers & (offsets | PARAMETERS) or offsets & PARAMETERS:
        raise entry.error("it gives one name two meanings")
    return KnownNames(registers, offsets | PARAMETERS, file)


def _image(entry: Entry) -> ImageRule:
    rule = ImageRule(
        symbol=entry.text("symbol"),
        header=entry.texts("header"),
        ascending=entry.texts("ascending"),
        first_page=entry.number("first_page"),
        anchor=entry.text("anchor"),
    )
    entry.finish()
    if not set(rule.ascending) <= set(rule.header) or len(rule.ascending) < 2:
        raise entry.error("ascending does not name two or more entries of header")
    return rule


def _site(entry: Entry, names: KnownNames, lines: list[int], header: Sequence[str]) -> SiteRule:
    name, start, stop = entry.text("name"), entry.text("from"), entry.optional_text("to")
    for anchor in (start, stop):
        if anchor is not None and anchor not in header:
            raise entry.error(f"'{anchor}' is not in header of [image]")
    if len(lines) < 2:
        raise entry.error("write pattern and code as ''' blocks, each behind its key")
    pattern = parse_pattern(entry.text("pattern"), names, lines.pop(0))
    trampoline = entry.table("trampoline")
    site = SiteRule(
        name=name,
        start=start,
        stop=stop,
        key=entry.text("key"),
        max_gap=entry.number("max_gap"),
        pattern=pattern,
        trampoline=TrampolineRule(
            trampoline.text("symbol"),
            frozenset(trampoline.texts("clobbers")),
            parse_trampoline(trampoline.text("code"), names, lines.pop(0)),
        ),
    )
    trampoline.finish()
    entry.finish()
    return site


def _lock(entry: Entry) -> LockRule:
    rule = LockRule(
        symbol=entry.text("symbol"),
        size=entry.number("size"),
        section=entry.text("section"),
        page=entry.power_of_two("page"),
    )
    entry.finish()
    return rule


def _example(entry: Entry, sites: Sequence[SiteRule]) -> Example:
    example = Example(
        entry.text("file"),
        SectionOffset(entry.number("image")),
        {site.name: ImageOffset(entry.number(site.name)) for site in sites},
    )
    entry.finish()
    return example


def _block_lines(text: str) -> list[int]:
    """The line on which each ''' block's first line of text stands, in file order."""
    opened = re.compile(r"^(pattern|code) = '''\s*$")
    return [
        number + 1 for number, line in enumerate(text.split("\n"), start=1) if opened.match(line)
    ]
