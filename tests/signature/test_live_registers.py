"""A trampoline must find every register that it needs, and leave every one that is read later."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.signature.images import FIELDS, PLAIN, match_of, module_with, switch, written
from tests.signature.refused import STATE, refused
from tests.strategies.machine_code import At, load, store
from tests.strategies.world_switches import exit_site


@pytest.mark.parametrize(
    ("behind", "register", "text"),
    [
        (bytes.fromhex("4889f3"), "rsi", "mov rbx, rsi"),
        (store(STATE, "r8"), "r8", "mov qword ptr [rdi + 0x1f0], r8"),
        (load("rbx", At("rdx", 0)), "rdx", "mov rbx, qword ptr [rdx]"),
        (bytes.fromhex("b001 4889c3"), "rax", "mov rbx, rax"),  # al alone is new
        (bytes.fromhex("480f44c8 4889cb"), "rax", "cmove rcx, rax"),
        (bytes.fromhex("0f84 00000000"), "rflags", "je"),
        (bytes.fromhex("ffc0 7200"), "rax", "inc eax"),
        (bytes.fromhex("31c0 ffc0 7200"), "", ""),  # xor writes the carry
        (bytes.fromhex("b801000000 fec4 88e3"), "", ""),
        (bytes.fromhex("b401 6689c3"), "rax", "mov bx, ax"),
        (bytes.fromhex("7502 31f6 4889f3"), "rflags", "jne"),
        (bytes.fromhex("39ff 7502 31f6 4889f3"), "rsi", "mov rbx, rsi"),
        (bytes.fromhex("39ff 7503 4889f3"), "rsi", "mov rbx, rsi"),
        (bytes.fromhex("e803000000 eb03 90 90 90"), "", ""),
        (bytes.fromhex("668b8798000000 8ed0"), "", ""),  # ss is loaded from ax alone
        (bytes.fromhex("8a8798000000 8ed0"), "rax", "mov ss, eax"),
    ],
)
def test_a_register_that_is_alive_behind_the_exit(behind: bytes, register: str, text: str) -> None:
    made = switch(behind_exit=behind)
    if not register:
        assert match_of(module_with(made.contents))
        return
    reason = refused(made)
    assert "site 'exit'" in reason
    assert f"still reads {register}" in reason and f"'{text}" in reason


@pytest.mark.parametrize("behind", [b"\x06", bytes.fromhex("ffe7"), bytes.fromhex("ffd3")])
def test_a_way_behind_the_exit_that_cannot_be_followed(behind: bytes) -> None:
    assert "may read" in refused(switch(behind_exit=behind))


@pytest.mark.parametrize(
    ("behind", "register"), [("4889d3", "rdx"), ("4889cb", "rcx"), ("7200", "rflags")]
)
def test_a_register_that_is_alive_behind_the_entry(behind: str, register: str) -> None:
    reason = refused(switch(behind_entry=bytes.fromhex(behind)))
    assert "site 'entry'" in reason and f"still reads {register}" in reason


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (store(STATE, "rsp"), "saves the stack pointer, which it moves"),
        (b"\x75\x1a", "goes round it"),
        (b"\x75\x80", "goes round it"),
        (b"\xc3", "leads away"),
        (b"\xff\xe0", "leads away"),
    ],
)
def test_an_entry_that_is_not_always_reached(before: bytes, why: str) -> None:
    reason = refused(switch(before_entry=before))
    assert "site 'entry'" in reason and why in reason


@pytest.mark.parametrize("before", ["4889e5", "7500", "750131c0 90", "e800000000", "488b6c2408"])
def test_an_entry_that_is_reached_in_the_end(before: str) -> None:
    made = switch(before_entry=bytes.fromhex(before))
    assert match_of(module_with(made.contents)).sites["entry"].start == made.entry[0]


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (b"\xc3", "leads away"),
        (b"\x06", "does not decode"),
        (b"\xb8", "it begins inside of 'mov eax, "),
    ],
)
def test_an_exit_that_is_not_reached(before: bytes, why: str) -> None:
    reason = refused(switch(exit_=before + exit_site(PLAIN, FIELDS)))
    assert "site 'exit'" in reason and why in reason


def test_a_register_that_is_alive_behind_the_far_return_of_the_entry() -> None:
    made = switch()
    contents = bytearray(made.contents)
    at = made.header[2]
    contents[at : at + 3] = bytes.fromhex("4889d3")  # mov rbx, rdx
    reason = refused(bytes(contents))
    assert f"'mov rbx, rdx' at {at:#x} still reads rdx" in reason


@pytest.mark.parametrize("state", ["rax", "rcx", "rdx"])
def test_a_state_in_a_register_that_the_entry_trampoline_needs(state: str) -> None:
    forms = replace(PLAIN, state=state, sel="rbx", slot="r12")
    assert f"needs {state}, which holds the state" in refused(written(forms))


@pytest.mark.parametrize("state", ["rsi", "r8", "r9", "r10"])
def test_a_state_in_a_register_that_the_exit_trampoline_needs(state: str) -> None:
    reason = refused(written(replace(PLAIN, state=state)))
    assert "site 'exit'" in reason
    assert f"needs {state}, which holds the state" in reason


def test_a_state_on_the_stack() -> None:
    reason = refused(written(replace(PLAIN, state="rsp")))
    assert "means something else elsewhere" in reason


def test_a_state_in_another_register_at_the_exit() -> None:
    made = switch(exit_=exit_site(replace(PLAIN, state="rbx"), FIELDS))
    assert "site 'exit' matches nowhere" in refused(made)
