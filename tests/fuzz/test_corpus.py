"""Every seed and every kept finding goes through its target; so do seeds cut and changed."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda each: str(each.name))
def test_the_corpus_of_a_target_finds_nothing(target: Target) -> None:
    chance = random.Random(target.name)
    for data in target.corpus():
        target(data)
        target(data[: len(data) // 2])
        changed = bytearray(data)
        for _ in range(4):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        target(bytes(changed))


def test_every_folder_of_findings_belongs_to_a_target() -> None:
    folders = (
        {path.name for path in CORPUS.iterdir() if path.is_dir()} if CORPUS.is_dir() else set()
    )
    assert folders <= set(TARGETS)
