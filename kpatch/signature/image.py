"""Finds the monitor image: code inside a data section, known by its header.

Five u32 offsets stand in front of it. What they point to decides, not the symbol: between the
first two offsets of the switch there must be, reached by decoding straight on from the first, the
anchor instruction. A symbol, if one is left, only says where to look first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from kpatch.elf.module import Module, Section
from kpatch.errors import UnknownModuleError
from kpatch.isa.decode import outline
from kpatch.signature.model import OWN_SIGNATURE, Image, ImageRule
from kpatch.signature.prefilter import ANCHOR_REACH, IMAGE_ALIGNMENT, candidates
from kpatch.units import SectionOffset

_MOST_CANDIDATES = 1024
"""Places of a module that are looked at closely; a real kqemu.ko has about 40."""

_MOST_IMAGES = 8
"""Images of a module; a real kqemu.ko has one."""


class Candidate(NamedTuple):
    """A place with a plausible header. ``flaw`` says what is wrong with it, empty if nothing."""

    image: Image
    flaw: str


def find_images(module: Module, rule: ImageRule) -> tuple[Candidate, ...]:
    """Every place of ``module`` that has the header and the anchor, by file offset.

    Raises UnknownModuleError where more places look like it than any module has.
    """
    found: dict[tuple[int, int], Image] = {}
    looked_at = 0
    for section in module.sections:
        if not section.is_loaded or section.is_code:
            continue
        data = module.view(section)
        hinted = _hint(module, section, rule)
        starts = set() if hinted is None else {hinted}
        for anchor in candidates(rule.anchor, data, 0, len(data)):
            starts.update(_plausible(data, anchor, rule))
            looked_at += 1
            if looked_at + len(starts) > _MOST_CANDIDATES:
                raise _too_many(section)
        looked_at += len(starts)
        for start in starts:
            image = _examine(module, section, data, start, rule)
            if image is not None:
                found[section.index, start] = image
        if len(found) > _MOST_IMAGES:
            raise _too_many(section)
    return tuple(_apart([found[key] for key in sorted(found)]))


def no_image(module: Module, rule: ImageRule) -> UnknownModuleError:
    """The refusal of a module in which :func:`find_images` finds nothing."""
    if is_split_off(module):
        return symbols_only()
    return UnknownModuleError(
        "no monitor image in it: no data section has a header of five offsets with "
        f"'{rule.anchor}' behind it",
        todo=f"if it is a kqemu of another version, it needs {OWN_SIGNATURE}",
    )


def is_split_off(module: Module) -> bool:
    """Whether it has the headers of code sections, and none of the code.

    objcopy makes them NOBITS; up to binutils 2.35 it left those of a relocatable file, as zeros.
    """
    code = [section for section in module.sections if section.is_code and section.size]
    return bool(code) and not any(module.contents(section).strip(b"\0") for section in code)


def symbols_only() -> UnknownModuleError:
    """The refusal of what was split off a module."""
    return UnknownModuleError(
        "it holds symbols and debugging information only, as objcopy --only-keep-debug leaves",
        todo="the module that they were split from is another file",
    )


def _too_many(section: Section) -> UnknownModuleError:
    return UnknownModuleError(
        "too many places look like the start of a monitor image",
        where=section.name,
        todo="give kpatch the kqemu.ko of a FreeBSD/amd64 host",
    )


def _apart(images: list[Image]) -> Iterator[Candidate]:
    """The images as candidates, each ending where the next one in its section starts."""
    for image, following in zip_longest(images, images[1:]):
        if following is not None and following.section == image.section:
            image = image._replace(size=min(image.size, following.at - image.at))
        beyond = [
            f"{name} = {value:#x}" for name, value in image.header.items() if value >= image.size
        ]
        flaw = (
            f"the image is cut off: it has {image.size:#x} bytes, but its header says "
            + ", ".join(beyond)
            if beyond
            else ""
        )
        yield Candidate(image, flaw)


def _hint(module: Module, section: Section, rule: ImageRule) -> int | None:
    symbol = module.defined(rule.symbol)
    if symbol is None or symbol.section != section.index or symbol.value >= section.size:
        return None
    return symbol.value


def _plausible(data: memoryview, anchor: int, rule: ImageRule) -> Iterator[int]:
    """Section offsets at which a header may stand whose code holds the anchor at ``anchor``."""
    length = 4 * len(rule.header)
    first = rule.header.index(rule.ascending[0])
    lowest = max(0, anchor - rule.first_page)
    lowest += -lowest % IMAGE_ALIGNMENT
    starts = range(lowest, anchor - length + 1, IMAGE_ALIGNMENT)
    if not starts:
        return
    # All at once: to look at each costs more than all that is done with the few that fit.
    entries = struct.unpack_from(f"<{len(starts)}I", data, lowest + 4 * first)
    for start, entry in zip(starts, entries, strict=True):
        if length <= entry <= anchor - start <= entry + ANCHOR_REACH:
            yield start


def _examine(
    module: Module, section: Section, data: memoryview, start: int, rule: ImageRule
) -> Image | None:
    length = 4 * len(rule.header)
    if start + length > len(data):
        return None
    header = dict(
        zip(rule.header, struct.unpack_from(f"<{len(rule.header)}I", data, start), strict=True)
    )
    marks = [header[name] for name in rule.ascending]
    if marks[0] < length or marks[-1] >= rule.first_page or marks != sorted(set(marks)):
        return None
    if not _reaches_anchor(data, start + marks[0], start + marks[1], rule.anchor):
        return None
    symbol = module.defined(rule.symbol)
    named = symbol is not None and (symbol.section, symbol.value) == (section.index, start)
    size = len(data) - start
    if named and symbol is not None and 0 < symbol.size < size:
        size = symbol.size
    return Image(
        section=section,
        at=SectionOffset(start),
        start=module.file_offset(section, SectionOffset(start)),
        size=size,
        header=header,
        marks=tuple(marks),
        evidence=f"header of {len(header)} offsets at {section.name}+{start:#x}"
        + (f", symbol {rule.symbol}" if named else ""),
    )


def _reaches_anchor(data: memoryview, start: int, stop: int, anchor: str) -> bool:
    """True if decoding straight on from ``start`` meets the anchor before ``stop``."""
    code = data[start : min(stop, start + ANCHOR_REACH)]
    return any(instruction.mnemonic == anchor for instruction in outline(code))
