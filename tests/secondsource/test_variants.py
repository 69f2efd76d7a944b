"""What the description of the switch leaves free: built, patched, taken back, and judged."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import MatchError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.original import original_of
from kpatch.patch.prepare import prepare
from kpatch.verify.world.worldswitch import bind
from tests.secondsource.build import build, fields_of
from tests.secondsource.places import Host
from tests.secondsource.referee import Machine
from tests.secondsource.schedules import drawn
from tests.secondsource.variants import REFUSED, VARIANTS

BOUND = {
    "monitor_address": "M_STATE",
    "kernel_address": "K_STATE",
    "nexus_address": "K_NEXUS",
    "monitor_idt": "M_IDT",
    "monitor_gdt": "M_GDT",
    "monitor_ldt_sel": "M_LDT",
    "monitor_ds_sel": "M_DS",
    "monitor_jump": "M_JMP",
    "monitor_cs_sel": "M_CS",
    "monitor_tr_sel": "M_TR",
    "monitor_cr3": "M_CR3",
    "monitor_dr7": "M_DR7",
    "monitor_rsp": "M_RSP",
    "tss_cache": "M_TSS",
    "host_idt": "K_IDT",
    "host_gdt": "K_GDT",
    "host_tr_sel": "K_TR",
    "host_ldt_sel": "K_LDT",
    "host_rsp": "K_RSP",
    "host_ss": "K_SS",
    "host_cs": "K_CS",
    "host_cr0": "K_CR0",
    "host_cr3": "K_CR3",
    "host_cr4": "K_CR4",
}
"""kpatch's name of a field -> the one in fields.h."""


def patched(module: Module) -> bytes:
    return apply_plan(prepare(assess(module)))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_bound_patched_and_taken_back(
    name: str, tmp_path: Path, code: bytes
) -> None:
    variant = VARIANTS[name]
    path = build(tmp_path, variant.kernel, variant.image, variant.front)
    module = read_module(path.read_bytes(), name)
    image = (tmp_path / "image.bin").read_bytes()
    entry, _, monitor_side, kernel_side, _ = struct.unpack_from("<5I", image)
    layout = bind(image, (entry, monitor_side, kernel_side))
    fields = fields_of(variant.image)
    assert {known: vars(layout)[known] for known in BOUND} == {
        known: fields[ours] for known, ours in BOUND.items()
    }
    after = patched(module)
    assert original_of(read_module(after)) == module.data
    header = struct.unpack_from("<5I", (tmp_path / "image.bin").read_bytes())
    host = Host(
        cpuid=0x3C if variant.kernel == "6" else 0x34,
        selector=0x48 if variant.kernel == "8" else 0x30,
    )
    before = Machine(module.data, header, fields, code, 2, host)
    assert before.run([])
    machine = Machine(after, header, fields, code, 2, host)
    for schedule in drawn(1, 2, machine.length(), 6):
        assert machine.run(schedule) == (), schedule


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_looks_like_the_switch_is_refused_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    variant, reason = REFUSED[name]
    module = read_module(build(tmp_path, variant.kernel, variant.image).read_bytes(), name)
    with pytest.raises(MatchError) as caught:
        patched(module)
    assert reason in str(caught.value)
