"""What an instruction does, by two decoders; where they differ, by the SDM."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.isa.agreed import effects_of, merge
from kpatch.isa.effects import AF, CF, DF, OF, PF, SF, STATUS_FLAGS, WHOLE, ZF, Effects
from kpatch.isa.effects_capstone import by_capstone
from kpatch.isa.effects_iced import by_iced
from kpatch.isa.effects_table import settled

W = WHOLE
LOGIC = PF | ZF | SF | CF | OF
SZP = SF | ZF | PF

# Bytes; reads, certain writes, possible writes; flags read, certainly written, possibly changed.
# By hand, from the page of each instruction in vol. 2 of the SDM.
BY_HAND: dict[str, tuple[str, dict[str, int], dict[str, int], dict[str, int], int, int, int]] = {
    "test [rdi], ecx": ("850f", {"rdi": W, "rcx": 0xF}, {}, {}, 0, LOGIC, STATUS_FLAGS),
    "test [rdi], cl": ("840f", {"rdi": W, "rcx": 1}, {}, {}, 0, LOGIC, STATUS_FLAGS),
    "test eax, 1": ("a901000000", {"rax": 0xF}, {}, {}, 0, LOGIC, STATUS_FLAGS),
    "cmc": ("f5", {}, {}, {}, CF, CF, CF),
    "rcl byte [rdi + 0x330], 1": ("d09730030000", {"rdi": W}, {}, {}, CF, CF | OF, CF | OF),
    "rcr eax, 1": ("d1d8", {"rax": 0xF}, {"rax": W}, {"rax": W}, CF, CF | OF, CF | OF),
    "rcr eax, 3": ("c1d803", {"rax": 0xF}, {"rax": W}, {"rax": W}, CF, CF, CF | OF),
    "rcl eax, cl": ("d3d0", {"rax": 0xF, "rcx": 1}, {"rax": W}, {"rax": W}, CF, 0, CF | OF),
    "sbb eax, 0": ("83d800", {"rax": 0xF}, {"rax": W}, {"rax": W}, CF, STATUS_FLAGS, STATUS_FLAGS),
    "lahf": ("9f", {}, {"rax": 2}, {"rax": 2}, SF | ZF | AF | PF | CF, 0, 0),
    "xlatb": ("d7", {"rax": 1, "rbx": W}, {"rax": 1}, {"rax": 1}, 0, 0, 0),
    "cmpxchg [rdi], ecx": (
        "0fb10f", {"rdi": W, "rcx": 0xF, "rax": W}, {}, {"rax": W}, 0, STATUS_FLAGS, STATUS_FLAGS,
    ),
    "cdq": ("99", {"rax": 0xF}, {"rdx": W}, {"rdx": W}, 0, 0, 0),
    "cqo": ("4899", {"rax": W}, {"rdx": W}, {"rdx": W}, 0, 0, 0),
    "stosq": ("48ab", {"rax": W, "rdi": W}, {"rdi": W}, {"rdi": W}, DF, 0, 0),
    "push fs": ("0fa0", {"rsp": W}, {"rsp": W}, {"rsp": W}, 0, 0, 0),
    "pop gs": ("0fa9", {"rsp": W}, {"rsp": W}, {"rsp": W}, 0, 0, 0),
    "retfq": ("48cb", {"rsp": W}, {"rsp": W}, {"rsp": W}, 0, 0, 0),
    "leave": ("c9", {"rbp": W}, {"rsp": W, "rbp": W}, {"rsp": W, "rbp": W}, 0, 0, 0),
    "nop [rdi]": ("0f1f07", {}, {}, {}, 0, 0, 0),
    "cmove rcx, rax": ("480f44c8", {"rcx": W, "rax": W}, {}, {"rcx": W}, ZF, 0, 0),
    "bsf eax, ecx": ("0fbcc1", {"rcx": 0xF, "rax": W}, {}, {"rax": W}, 0, ZF, STATUS_FLAGS),
    "shl eax, cl": ("d3e0", {"rax": 0xF, "rcx": 1}, {"rax": W}, {"rax": W}, 0, 0, STATUS_FLAGS),
    "shl eax, 0": ("c1e000", {"rax": 0xF}, {"rax": W}, {"rax": W}, 0, 0, 0),
    "shl eax, 2": ("c1e002", {"rax": 0xF}, {"rax": W}, {"rax": W}, 0, CF | SZP, STATUS_FLAGS),
    "xor eax, eax": ("31c0", {}, {"rax": W}, {"rax": W}, 0, LOGIC, STATUS_FLAGS),
    "imul eax, ecx": (
        "0fafc1", {"rax": 0xF, "rcx": 0xF}, {"rax": W}, {"rax": W}, 0, CF | OF, STATUS_FLAGS,
    ),
    "mov cr0, rax": ("0f22c0", {"rax": W}, {}, {}, 0, 0, STATUS_FLAGS),
    "mov ss, eax": ("8ed0", {"rax": 3}, {}, {}, 0, 0, 0),
    "mov ah, 1": ("b401", {}, {"rax": 2}, {"rax": 2}, 0, 0, 0),
    "lea eax, [rcx + 1]": ("8d4101", {"rcx": W}, {"rax": W}, {"rax": W}, 0, 0, 0),
    "repe cmpsb": (
        "f3a6", {"rsi": W, "rdi": W, "rcx": W}, {}, {"rsi": W, "rdi": W, "rcx": W},
        DF, 0, STATUS_FLAGS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", BY_HAND)
def test_the_effects_are_those_that_the_manual_has(text: str) -> None:
    code, reads, writes, may_write, flags_read, flags_written, flags_changed = BY_HAND[text]
    known = effects_of(bytes.fromhex(code))
    assert known is not None and known.doubts == ()
    found = known.effects
    assert (found.reads, found.writes, found.may_write) == (reads, writes, may_write)
    flags = (found.flags_read, found.flags_written, found.flags_changed)
    assert flags == (flags_read, flags_written, flags_changed)


@pytest.mark.parametrize(
    ("code", "doubt"),
    [
        ("660f8000000000", "its length"),  # Capstone 5.0.9: jo with a 66 prefix has 5 bytes
        ("660fc9", "whether it reads rcx"),  # bswap cx: what it does is undefined
    ],
)
def test_what_the_decoders_differ_about_is_a_doubt(code: str, doubt: str) -> None:
    known = effects_of(bytes.fromhex(code))
    assert known is not None and doubt in known.doubts


def test_what_one_decoder_alone_knows_has_no_effects() -> None:
    assert effects_of(bytes.fromhex("f00f1f23")) is None  # lock nop faults


INSTRUCTIONS = st.builds(
    lambda prefix, opcode, rest: prefix + opcode + rest,
    st.sampled_from([b"", b"\x66", b"\x48", b"\x41", b"\xf3", b"\xf0", b"\x65", b"\x67"]),
    st.sampled_from(
        [bytes([one]) for one in range(256)] + [bytes([0x0F, one]) for one in range(256)]
    ),
    st.binary(min_size=12, max_size=12),
)


@settings(max_examples=400)
@given(INSTRUCTIONS)
def test_either_decoders_read_is_a_read_and_only_both_writes_are_certain(code: bytes) -> None:
    known, first, second = effects_of(code), by_capstone(code), by_iced(code)
    assert (known is None) == (first is None or second is None)
    if known is None or first is None or second is None:
        return
    one, other = settled(*first, second)
    found = known.effects
    for opinion in (one, other):
        assert opinion.flags_read | found.flags_read == found.flags_read
        assert opinion.flags_changed | found.flags_changed == found.flags_changed
        assert opinion.flags_written & found.flags_written == found.flags_written
        for name, mask in opinion.reads.items():
            assert found.reads[name] & mask == mask
        for name, mask in opinion.may_write.items():
            assert found.may_write[name] & mask == mask
        for name, mask in found.writes.items():
            assert opinion.writes[name] & mask == mask
    assert not found.flags_written & found.flags_undefined
    assert bool(known.doubts) == (
        one._replace(writes={}, flags_written=0, flags_undefined=0)
        != other._replace(writes={}, flags_written=0, flags_undefined=0)
    )


MASKS = st.dictionaries(st.sampled_from(["rax", "rcx"]), st.integers(1, 255))
EFFECTS = st.builds(
    Effects, st.integers(1, 15), st.just(()), st.none(), MASKS, MASKS, MASKS,
    st.integers(0, 127), st.integers(0, 127), st.integers(0, 127), st.integers(0, 127),
)  # fmt: skip


@given(EFFECTS, EFFECTS)
def test_two_opinions_merge_alike_in_either_order(one: Effects, other: Effects) -> None:
    found, turned = merge(one, other), merge(other, one)
    assert found.effects._replace(length=0) == turned.effects._replace(length=0)
    assert (found.doubts, found.understood) == (turned.doubts, turned.understood)


@given(EFFECTS)
def test_one_opinion_twice_leaves_no_doubt(one: Effects) -> None:
    assert merge(one, one).doubts == ()
