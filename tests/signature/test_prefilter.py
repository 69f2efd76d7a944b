"""No place where an instruction may begin hides behind another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kpatch.isa.decode import decode_one
from kpatch.signature.prefilter import candidates, starts

PIECES = st.sampled_from((b"\x0f", b"\x00", b"\x01", b"\x08", b"\x4f", b"\xd8", b"\x8b", b"\x66"))


def test_the_last_byte_of_one_may_be_the_first_of_the_next() -> None:
    code = b"\x0f\x00\x0f\x00\x48\x10"  # str word ptr [rdi]; or, two bytes on: str [rax+0x10]
    assert list(candidates("str", code, 0, len(code))) == [0, 2]
    assert 2 in starts(frozenset({"sidt"}), b"\x0f\x01\x0f\x01\x48\x10", 0, 6)


@given(st.lists(PIECES, max_size=24).map(b"".join))
def test_every_str_and_ltr_is_a_candidate(code: bytes) -> None:
    for key in ("str", "ltr"):
        found = set(candidates(key, code, 0, len(code)))
        for at in range(len(code)):
            each = decode_one(code[at:], at)
            if each is not None and each.mnemonic == key and code[at : at + 2] == b"\x0f\x00":
                assert at in found
