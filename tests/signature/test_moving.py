"""Instructions at and behind a site whose effects one decoder alone would get wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kpatch.errors import MatchError
from tests.signature.images import FIELDS, PLAIN, filled, match_of, module_with, switch, written
from tests.strategies.machine_code import At, load, store
from tests.strategies.world_switches import Forms, Switch, exit_site


def refused(made: Switch) -> str:
    with pytest.raises(MatchError) as caught:
        match_of(module_with(made.contents))
    return str(caught.value)


def behind_the_and(filler: str) -> Forms:
    """``filler`` between the ``and`` of the exit, which clears the carry, and the ``ltr``."""
    return replace(PLAIN, fillers=((), (), (), (), (bytes.fromhex(filler),)))


@pytest.mark.parametrize(
    ("filler", "why"),
    [
        ("d09730030000", "'rcl byte ptr [rdi + 0x330]' cannot be run in front of the others"),
        ("d09f30030000", "it reads CF"),  # rcr byte [rdi + 0x330], 1
        ("d1db", "it reads CF"),  # rcr ebx, 1
        ("c0d303", "it reads CF"),  # rcl bl, 3
        ("f5", "it reads CF"),  # cmc
        ("83db00", "matches nowhere"),  # sbb ebx, 0
        ("9f", "matches nowhere"),  # lahf
        ("9c", "matches nowhere"),  # pushf
        ("d7", "it uses rax, as the site does"),  # xlatb
        ("0fb11f", "matches nowhere"),  # cmpxchg [rdi], ebx
        ("0fa0", "means something else elsewhere"),  # push fs
        ("0fa9", "means something else elsewhere"),  # pop gs
        ("660fcb", "two decoders differ about whether it reads rbx"),  # bswap bx
        ("f30f1efa0f20db0f22db", "it has effects on the system"),  # mov rbx, cr3; mov cr3, rbx
        ("0f0133", "it has effects on the system"),  # lmsw [rbx]
        ("480fb39f8c000000", "it uses a field of the state that the site reads"),  # btr [tr_sel]
        ("c7878600000000000000", "it uses a field of the state"),  # the GDT's base
        ("8913", "it uses memory that may be the descriptor"),  # mov [rbx], edx
        ("64881f", "it uses memory that may be the descriptor"),  # mov fs:[rdi], bl
        ("c7873003000000000000", ""),  # another field
    ],
)  # fmt: skip
def test_an_instruction_that_would_be_moved_past_what_it_depends_on(filler: str, why: str) -> None:
    made = written(behind_the_and(filler))
    if why:
        assert why in refused(made)
    else:
        assert match_of(module_with(made.contents))


def test_a_filler_that_writes_a_neighbour_of_the_selector() -> None:
    for at in (FIELDS["tr_sel"] - 8, FIELDS["gdt"] + 10 + 8):
        made = written(filled(store(At("rdi", at), "rbx")))
        assert match_of(module_with(made.contents)) if at > FIELDS["tr_sel"] else refused(made)


@pytest.mark.parametrize(
    ("behind", "register"),
    [
        ("859730030000", "rdx"),  # test [rdi + 0x330], edx
        ("848f30030000", "rcx"),  # test [rdi + 0x330], cl
        ("f5", "rflags"),  # cmc
        ("d1d3", "rflags"),  # rcl ebx, 1
        ("d7", "rax"),  # xlatb
        ("480fb11f", "rax"),  # cmpxchg [rdi], rbx
        ("b000 400fb037", "rsi"),  # cmpxchg [rdi], sil
        ("99 89d3", "rax"),  # cdq
        ("31db 83e000 9f 88e7", "rax"),  # lahf writes ah; eax is read before
        ("f8 0f92c3 9c", "rflags"),  # clc leaves the others; pushf
        ("b101 d3e3 0f94c3", "rflags"),  # shl ebx, cl: the count may be 0
        ("480fbcd3 4889d3", "rdx"),  # bsf rdx, rbx: rdx stays if rbx is 0
        ("480f44d3 4889d3", "rdx"),  # cmove
        ("66 0fcb 89d3", "rdx"),  # bswap bx is in doubt, but about rbx alone
    ],
)  # fmt: skip
def test_what_one_decoder_does_not_see_is_alive_behind_the_exit(behind: str, register: str) -> None:
    assert f"reads {register}" in refused(switch(behind_exit=bytes.fromhex(behind)))


@pytest.mark.parametrize(
    "behind",
    [
        "ba01000000 859730030000 31c9 848f30030000",  # test reads what is new
        "85ff 0f94c3 f5",  # test wrote the carry, which cmc reads
        "99",  # cdq reads eax, but
    ],
)
def test_what_was_written_before_is_dead(behind: str) -> None:
    code = bytes.fromhex("b800000000" + behind)
    assert match_of(module_with(switch(behind_exit=code).contents))


def test_a_jump_whose_length_the_decoders_differ_about_cannot_be_followed() -> None:
    made = switch(behind_exit=bytes.fromhex("660f8100000000"))
    assert "two decoders differ about 'jno" in refused(made)


def test_a_jump_whose_length_the_decoders_differ_about_in_front_of_the_site() -> None:
    made = switch(exit_=bytes.fromhex("660f8100000000") + exit_site(PLAIN, FIELDS))
    assert "two decoders differ about 'jno" in refused(made)


def test_loads_of_the_state_may_stand_between() -> None:
    for name in ("cr0", "ss", "cr3"):
        made = written(filled(load("rbx", At("rdi", FIELDS[name]))))
        assert match_of(module_with(made.contents))
