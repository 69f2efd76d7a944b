"""A large module is in memory once before its patch and once behind it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewSection
from kpatch.elf.module import Module, read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.diff import diff_modules
from kpatch.patch.giveback import given_back
from kpatch.patch.prepare import prepare
from kpatch.patch.sides import named_sides
from tests.children import peak_of
from tests.cli.harness import sample
from tests.editing import append

_SIZE = 8 << 20


@cache
def _module(size: int) -> Module:
    """A module with as many bytes more, half of them code and half data."""
    kinds = {".more": elf.SHF_ALLOC, ".code": elf.SHF_ALLOC | elf.SHF_EXECINSTR}
    sections = [
        NewSection(name, elf.SHT_PROGBITS, flags, 16, bytes(size // len(kinds)))
        for name, flags in kinds.items()
    ]
    return read_module(append(read_module(sample("kqemu-7.ko").read_bytes()), sections=sections))


@cache
def _patched(size: int) -> Module:
    return read_module(apply_plan(prepare(assess(_module(size)))))


def _compared_with_its_original(size: int) -> None:
    diff_modules(*named_sides(_patched(size)))


def _compared_with_its_patch(size: int) -> None:
    diff_modules(*named_sides(_module(size)))


def _reverted(size: int) -> None:
    given_back(_patched(size))


@pytest.mark.parametrize(
    "action", [_compared_with_its_original, _compared_with_its_patch, _reverted]
)
def test_a_module_and_its_other_side_are_all_that_is_large(action: Callable[[int], None]) -> None:
    action(1 << 10)  # what is imported and cached once
    _module(_SIZE), _patched(_SIZE)
    assert peak_of(lambda: action(_SIZE)) < 1.5 * _SIZE
