"""Cuts a section where its functions and objects begin, so that decoding starts at real places.

In an executable section a function begins at a symbol, as for ``objdump -d``. The switch of the
monitor image lies in a data section and has no symbols: there the image's header and the sites
that a signature matched say where instructions begin, and nothing else of it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from kpatch.elf.edits import consists_of
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, MatchError, UnknownModuleError
from kpatch.isa.decode import outline
from kpatch.patch.listing import Contents, Line
from kpatch.patch.note import Note, read_note
from kpatch.signature.load import load_signatures
from kpatch.signature.model import MOST_INSTRUCTIONS, Match, Signature
from kpatch.signature.scan import find_any


class Stretch(NamedTuple):
    """A function or an object: section offsets from ``start`` to ``end``, and its name if any."""

    name: str
    start: int
    end: int
    is_code: bool

    def lines(self, contents: Contents) -> Iterator[Line]:
        """Its instructions, or its bytes in rows."""
        shown = contents.instructions if self.is_code else contents.rows
        return shown(self.start, self.end)


class Switch(NamedTuple):
    """The parts of the monitor image in which instructions are known to begin."""

    section: int
    parts: tuple[Stretch, ...]


def stretches(
    contents: Contents, is_code: bool, parts: tuple[Stretch, ...] = ()
) -> tuple[Stretch, ...]:
    """All of a section, cut at its symbols and, where it is data, at the ``parts`` of a switch."""
    size = len(contents.data)
    names = {0: "", **{at: labels[0] for at, labels in contents.labels.items() if at < size}}
    for part in parts:
        inside = _holder(names, part.start)
        for at in [label for label in names if part.start < label < part.end]:
            inside = names.pop(at)
        names[part.start] = part.name
        names.setdefault(part.end, inside)
    starts = {part.start for part in parts}
    edges = [*sorted(names), size]
    return tuple(
        Stretch(names[start], start, end, is_code or start in starts)
        for start, end in pairwise(edges)
        if start < end
    )


def _holder(names: dict[int, str], at: int) -> str:
    """The name of the object that ``at`` lies in, for what follows the code in it."""
    return names[max(start for start in names if start <= at)]


def switch_of(
    module: Module,
    signatures: Sequence[Signature] | None = None,
    known: Module | None = None,
) -> Switch | None:
    """Where the switch of ``module`` is, patched or not; None where no signature matches once.

    Without ``signatures`` those that come with kpatch are tried. ``known`` may be what the module
    was before it was patched: then that is not made once more.

    Raises DamagedFileError where a note of kpatch does not read.
    """
    note = read_note(module)
    try:
        original = _without_patch(module, note, known) if note else module
        match = find_any(original, load_signatures() if signatures is None else signatures)
    except (DamagedFileError, MatchError, UnknownModuleError):
        return None
    return Switch(match.image.section.index, tuple(_parts(original, match)))


def _without_patch(module: Module, note: Note, known: Module | None) -> Module:
    """The original, as far as it is still there: a file that was changed since has a diff too."""
    whole = memoryview(module.data)[: note.original_size]
    original: list[bytes | memoryview] = [note.original_header]
    behind = len(note.original_header)
    for change in sorted(note.replaced, key=lambda change: change.offset):
        end = change.offset + len(change.after)
        if change.offset >= behind and whole[change.offset : end] == change.after:
            original += (whole[behind : change.offset], change.before)
            behind = end
    original.append(whole[behind:])
    if known is not None and consists_of(known.data, original):
        return known
    return read_module(b"".join(original), module.name)


def _parts(module: Module, match: Match) -> Iterator[Stretch]:
    """Routines that start where the header says, as far as the switch goes through them."""
    image = match.image
    data = module.view(image.section)
    marks = sorted((image.header[name], name) for name in match.signature.image.ascending)
    for (start, name), (stop, _) in pairwise([*marks, (image.size, "")]):
        sites = [site for site in match.sites.values() if start <= site.start < stop]
        least = max((site.end for site in sites), default=start)
        code = data[image.at + start : image.at + stop]
        end = start
        for instruction in islice(outline(code, start), MOST_INSTRUCTIONS):
            end = instruction.address + instruction.size
            operation = instruction.operation
            is_last = operation.startswith("ret") and not operation.startswith("retf")
            if stop == image.size and is_last and end >= least:
                break
        if end > start:
            place = name if start == marks[0][0] else f"behind {name}"
            yield Stretch(place, image.at + start, image.at + end, True)
