"""What an instruction reads, writes and does, where a mistake would move it wrongly."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kpatch.errors import SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode, decode_one, outline
from kpatch.isa.instruction import (
    MAX_LENGTH,
    REGISTERS,
    Immediate,
    Instruction,
    Memory,
    Register,
    register_view,
)
from tests.strategies.machine_code import REGISTERS as WHOLE
from tests.strategies.machine_code import REX_W, At, encode


def one(code: str | bytes, address: int = 0) -> Instruction:
    """The instruction that ``code`` is, all of it."""
    raw = bytes.fromhex(code) if isinstance(code, str) else code
    found = decode_one(raw, address)
    assert found is not None and found.raw == raw
    return found


@pytest.mark.parametrize("base", WHOLE)
@pytest.mark.parametrize("shift", [0, 1, -128, 127, 128, -129, 0x2450])
@pytest.mark.parametrize("wide", [False, True])
def test_every_base_and_length_of_displacement_is_one_operand(
    base: str, shift: int, wide: bool
) -> None:
    found = one(encode("0f00", 1, At(base, shift, wide)))
    assert found.mnemonic == "str"
    assert found.operands == (Memory(None, base, None, 1, shift, 2),)


@pytest.mark.parametrize("prefix", ["2e", "36", "3e", "26"])
def test_a_segment_that_64_bit_mode_ignores_is_no_segment(prefix: str) -> None:
    plain, prefixed = (
        encode("03", "rcx", At("rdi", 8)),
        encode("03", "rcx", At("rdi", 8), prefix=prefix),
    )
    assert one(prefixed).operands == one(plain).operands


@pytest.mark.parametrize(("prefix", "segment"), [("64", "fs"), ("65", "gs")])
def test_fs_and_gs_are_segments(prefix: str, segment: str) -> None:
    memory = one(encode("03", "rcx", At("rdi", 8), prefix=prefix)).operands[1]
    assert isinstance(memory, Memory) and memory.segment == segment


@pytest.mark.parametrize("rex", [0, 0x40, REX_W])
def test_a_useless_prefix_changes_nothing(rex: int) -> None:
    found = one(encode("0f00", 1, At("rdi", 8), rex=rex))
    assert found.operands == (Memory(None, "rdi", None, 1, 8, 2),)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("816104fffdffff", 0xFFFFFDFF),
        ("83e1f8", 0xFFFFFFF8),
        ("81e1f8ff0000", 0xFFF8),
        ("80610 5fd".replace(" ", ""), 0xFD),
        ("83f91f", 31),
    ],
)
def test_an_immediate_is_as_wide_as_its_operand(code: str, value: int) -> None:
    found = one(code)
    immediate = found.operands[1]
    assert isinstance(immediate, Immediate)
    assert immediate.value & ((1 << 8 * immediate.size) - 1) == value
    assert immediate.size == found.operands[0].size


@pytest.mark.parametrize(
    ("code", "target"),
    [("eb10", 0x1012), ("e910000000", 0x1015), ("7410", 0x1012), ("0f8410000000", 0x1016),
     ("e210", 0x1012), ("e010", 0x1012), ("e110", 0x1012), ("e310", 0x1012),
     ("e810000000", 0x1015), ("c7f810000000", 0x1016)],
)  # fmt: skip
def test_every_direct_branch_has_its_target(code: str, target: int) -> None:
    found = one(code, 0x1000)
    assert found.branch_target == target
    assert found.transfers_control and found.is_position_dependent


@pytest.mark.parametrize(
    "code", ["ffe0", "ff20", "ffd0", "c3", "c20800", "cb", "48cb", "cf", "48cf", "cc", "cd80", "f4",
             "0f0b", "0f05", "0f07", "0f34", "0f35"],
)  # fmt: skip
def test_what_leaves_without_a_target_still_transfers_control(code: str) -> None:
    found = one(code)
    assert found.transfers_control and found.branch_target is None


@pytest.mark.parametrize(
    ("code", "is_far"), [("c3", False), ("c20800", False), ("cb", True), ("48cb", True),
                         ("ca0800", True), ("48cf", True),
                         ("f2cb", True), ("f248cb", True), ("f3c3", False),
                         ],
)  # fmt: skip
def test_a_far_return_is_told_from_a_near_one(code: str, is_far: bool) -> None:
    found = one(code)
    assert found.is_return and found.is_far_return == is_far


@pytest.mark.parametrize(
    ("code", "operation"), [("ff28", "ljmp"), ("ff18", "lcall"), ("48ff28", "ljmp"),
                            ("66ff18", "lcall"), ("3eff2c24", "ljmp"), ("65ff28", "ljmp"),
                            ("ff2d00000000", "ljmp"), ("65ff20", "jmp"), ("f2ff28", "ljmp"),
                            ("ff20", "jmp"), ("ff10", "call"), ("f2ff20", "jmp"), ("ffe0", "jmp"),
                            ],
)  # fmt: skip
def test_a_far_jump_or_call_is_told_from_a_near_one(code: str, operation: str) -> None:
    found = one(code)
    assert found.operation == operation and operation in found.text
    assert found.transfers_control and found.branch_target is None


@pytest.mark.parametrize(
    "code", ["90", "4889c3", "0f22c0", "0f00d8", "0f0117", "8ed0", "0f01f8", "f390", "9b", "0f31"]
)
def test_what_goes_on_to_the_next_does_not_transfer_control(code: str) -> None:
    assert not one(code).transfers_control


@pytest.mark.parametrize("code", ["488b0500000000", "67488b0500000000", "488d0500000000"])
def test_what_is_relative_to_its_place_says_so(code: str) -> None:
    assert one(code).is_position_dependent


@pytest.mark.parametrize(
    "code", ["50", "58", "c9", "c8000000", "9c", "9d", "6a00", "ff7708", "8f07", "c3", "e800000000",
             "4883ec08", "488d642408", "4889e5", "4889ec", "488b0424"],
)  # fmt: skip
def test_what_uses_the_stack_says_so(code: str) -> None:
    found = one(code)
    assert "rsp" in found.reads | found.writes or found.is_return


@pytest.mark.parametrize(
    ("code", "reads", "writes"),
    [
        ("668b878c000000", {"rdi"}, {"rax"}),
        ("89c1", {"rax"}, {"rcx"}),
        ("0fb7c0", {"rax"}, {"rax"}),
        ("8721", {"rsp", "rcx"}, {"rsp"}),
        ("458708", {"r8", "r9"}, {"r9"}),
        ("0f00d8", {"rax"}, set()),
        ("0f32", {"rcx"}, {"rax", "rdx"}),
        ("0fa2", {"rax", "rcx"}, {"rax", "rbx", "rcx", "rdx"}),
        ("48f7e1", {"rax", "rcx"}, {"rax", "rdx", "rflags"}),
        ("f3a4", {"rcx", "rsi", "rdi", "rflags"}, {"rcx", "rsi", "rdi"}),
        ("0f94c0", {"rflags"}, {"rax"}),
        ("480f44c1", {"rcx", "rflags"}, {"rax"}),
    ],
)
def test_reads_and_writes_are_whole_registers(code: str, reads: set[str], writes: set[str]) -> None:
    found = one(code)
    assert (set(found.reads), set(found.writes)) == (reads, writes)


def test_a_register_has_one_name_a_width() -> None:
    for written, (whole, size) in REGISTERS.items():
        view = register_view(whole, size)
        assert view == written or written in ("ah", "bh", "ch", "dh")
    with pytest.raises(KeyError):
        register_view("rip", 8)


@given(st.binary(max_size=64), st.integers(0, 1 << 20))
@example(b"\x48" * 40, 0)
@example(b"\x66" * 15 + b"\x90", 0)
def test_decoding_any_bytes_ends_and_stays_inside(code: bytes, address: int) -> None:
    at = address
    for each in decode(code, address):
        assert each.address == at and 0 < len(each.raw) <= MAX_LENGTH
        assert each.raw == code[at - address : each.end - address]
        at = each.end
    assert at <= address + len(code)


@given(st.binary(max_size=64), st.integers(16, 1 << 20))
@example(b"\xf2\x70\x00", 16)  # bnd jo
@example(b"\xf2\xe9\x00\x00\x00\x00", 16)  # bnd jmp
def test_the_cheap_decoder_agrees_with_the_dear_one(code: bytes, address: int) -> None:
    dear = [(i.address, len(i.raw), i.mnemonic, i.branch_target) for i in decode(code, address)]
    cheap = [(o.address, o.size, o.mnemonic, o.branch_target) for o in outline(code, address)]
    assert [each[:3] for each in cheap] == [each[:3] for each in dear]
    for ours, theirs in zip(cheap, dear, strict=True):
        if theirs[3] is not None:  # one says -2, the other 2**64 - 2
            assert ours[3] is not None and (ours[3] - theirs[3]) % (1 << 64) == 0


@given(st.binary(min_size=1, max_size=20), st.integers(0, 1 << 20))
def test_decoding_one_is_the_first_of_many(code: bytes, address: int) -> None:
    assert decode_one(code, address) == next(iter(decode(code, address)), None)


def test_objdump_agrees_on_lengths_and_names(tmp_path: Path) -> None:
    code = assemble(
        "str [rdi+0x8c]; sidt [rdi+0x78]; sgdt [rdi+0x82]; sldt [rdi+0x8e]; mov ax, [rdi+0x8c];"
        "mov ecx, eax; and ecx, 0xfff8; add rcx, [rdi+0x84]; and dword ptr [rcx+4], 0xfffffdff;"
        "ltr ax; movabs r8, 0x1122334455667788; xchg dword ptr [r8], r9d; pause; jmp rdx"
    )
    path = tmp_path / "code.bin"
    path.write_bytes(code)
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    theirs = re.findall(r"^ *([0-9a-f]+):\t[0-9a-f ]+\t(\S+)", done.stdout, re.MULTILINE)
    assert [(f"{i.address:x}", i.mnemonic) for i in decode(code)] == theirs


def test_registers_are_told_from_memory() -> None:
    assert one("0f00d8").operands == (Register("ax", "rax", 2),)
    assert one("410f00d8").operands == (Register("r8w", "r8", 2),)


def test_an_assembler_that_refuses_raises_our_error() -> None:
    with pytest.raises(SignatureError):
        assemble("mov rax, [nowhere")
    assert assemble("") == b""
