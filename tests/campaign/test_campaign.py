"""The campaign's judge: the cases that it found, and a few new ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.errors import KpatchError
from kpatch.verify.explore import Answer, MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Bounds
from tests.campaign import judge
from tests.campaign.judge import Judgement, Trial, module_of
from tests.campaign.trampolines import trampolines

CASES = sorted(Path(__file__).with_name("cases").glob("*.toml"))
ON_TWO = Obligation(LEAVE, 2, MemoryModel.SC)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_disagreement_that_was_found_is_none_any_more(path: Path) -> None:
    trial = Trial.of(path.read_text(encoding="utf-8"))
    judged = judge.judge(trial, module_of(trial.macros))
    assert judged.outcome == "same", judged


def test_a_case_file_gives_the_trial_back() -> None:
    trial = Trial(trampolines(random.Random(7)), {"MOVE": "0x10"}, ON_TWO)
    assert Trial.of(trial.text()) == trial


def test_the_same_seed_draws_the_same_trampolines_and_another_one_others() -> None:
    assert trampolines(random.Random(3)) == trampolines(random.Random(3))
    assert len({trampolines(random.Random(seed)) for seed in range(20)}) == 20


def test_drawn_trampolines_can_be_patched_in_often_enough() -> None:
    module, made = module_of({}), 0
    for seed in range(12):
        try:
            made += bool(Trial(trampolines(random.Random(seed)), {}, ON_TWO).case(module))
        except (KpatchError, ValueError):
            continue
    assert made >= 4


def test_another_verdict_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself can fail: with an explorer that finds nothing."""
    trial = Trial.of(CASES[1].read_text(encoding="utf-8"))
    module = module_of(trial.macros)
    real = judge._explored

    def blind(case: object, where: object, bounds: Bounds, options: object) -> object:
        found = real(case, where, bounds, options)  # type: ignore[arg-type]
        if bounds.every_instruction or isinstance(found, str):
            return found
        return replace(found, verdict=Answer.PROVEN, counterexamples=())

    monkeypatch.setattr(judge, "_explored", blind)
    judged: Judgement = judge.judge(trial, module)
    assert (judged.outcome, judged.reduced) == ("other", "proven")
