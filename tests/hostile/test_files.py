"""Files that somebody made to hurt: every command answers, soon, in words, and changes nothing."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from tests.cli.harness import patched_bytes, sample
from tests.hostile.answering import (
    VERIFY,
    answers,
)
from tests.verify.machine.workshop import match_of

_WIDE: Final = (0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)

_SAMPLES: Final = ("kqemu-7.ko", "kqemu-7-data.ko", "kqemu-7-fix-a.ko", "kqemu-i386.ko")

_SECTION_HEADER: Final = 64

pytestmark = pytest.mark.usefixtures("loaded")


def contents(name: str) -> bytes:
    """A sample; ``patched`` is one of them, patched."""
    return patched_bytes() if name == "patched" else sample(name).read_bytes()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A module with wrong numbers, in its headers and tables above all."""
    data = bytearray(contents(draw(st.sampled_from((*_SAMPLES, "patched")))))
    module = read_module(bytes(data))
    tables = [each for each in module.sections if each.entsize and each.size]
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, 3))
        at = draw(st.integers(0, len(data) - 8))
        if place == 0:
            at = draw(st.integers(0, 56))
        elif place == 1:
            number = draw(st.integers(0, len(module.sections) - 1))
            at = module.header.shoff + _SECTION_HEADER * number + draw(st.integers(0, 14)) * 4
        elif place == 2 and tables:
            table = draw(st.sampled_from(tables))
            at = int(table.offset) + draw(st.integers(0, table.size - 8))
        width = draw(st.sampled_from((1, 2, 4, 8)))
        value = draw(st.one_of(st.sampled_from(_WIDE), st.integers(0, len(data) + 8)))
        at = min(at, len(data) - width)
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(data)


@given(damaged())
@settings(max_examples=60)
def test_every_command_answers_to_any_damage(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    for done in answers(data, tmp_path_factory.mktemp("damaged")):
        assert done.out or done.err


@given(st.data())
@settings(max_examples=12)
def test_verify_answers_to_any_code_in_the_image(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    module = bytearray(contents(data.draw(st.sampled_from(("kqemu-7.ko", "patched")))))
    start = match_of().image.start
    for _ in range(data.draw(st.integers(1, 3))):
        at = start + data.draw(st.integers(0x14, 0x1B0))
        module[at] = data.draw(st.integers(0, 255))
    answers(bytes(module), tmp_path_factory.mktemp("image"), VERIFY)
