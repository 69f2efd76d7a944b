"""What the report says of each instruction of a trampoline."""

from __future__ import annotations

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.annotate import annotated
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from tests.cli.harness import SAMPLES


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko", "kqemu-6.ko"])
def test_every_instruction_of_a_trampoline_has_a_comment(name: str) -> None:
    plan = prepare(assess(read_module((SAMPLES / name).read_bytes(), name)))
    found = annotated(plan)
    assert [(each.site, each.symbol) for each in found] == [
        ("entry", "kpatch_tss_entry"),
        ("exit", "kpatch_tss_exit"),
    ]
    for shown, made in zip(found, plan.trampolines, strict=True):
        assert "".join(line.raw for line in shown.lines) == made.code.hex()
        assert all(line.comment for line in shown.lines)
        assert sum(bool(line.target) for line in shown.lines) == len(made.fixups) == 1
    (exchange,) = [line for line in found[1].lines if line.text.startswith("xchg")]
    assert exchange.comment == "take it: one locked access"
    (load,) = [line for line in found[1].lines if line.text == "ltr ax"]
    assert load.label == "load"
