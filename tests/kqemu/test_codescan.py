"""The search for instructions in a module's own code: all of them, at a bounded cost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from kpatch.errors import MatchError
from kpatch.isa.decode import Outline, outline
from kpatch.kqemu import codescan
from kpatch.kqemu.codescan import find_calls, find_ltr
from kpatch.patch.assess import Verdict, assess
from kpatch.units import SectionOffset
from tests.objects import assembled

LTR = ".byte 0x0f, 0x00, 0xd8"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that are decoded from now on, instruction by instruction."""
    sizes: list[int] = []

    def counting(code: bytes, address: int = 0) -> Iterator[Outline]:
        for each in outline(code, address):
            sizes.append(each.size)
            yield each

    monkeypatch.setattr(codescan, "outline", counting)
    return sizes


def test_one_ltr_behind_megabytes_of_code_costs_only_its_neighbourhood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = f".text\n.fill {4 << 20}, 1, 0x90\n{LTR}\n.fill {1 << 20}, 1, 0x90\n{LTR}\n"
    module = read_module(assembled(source))
    sizes = counted(monkeypatch)
    assert [int(each.offset) for each in find_ltr(module)] == [4 << 20, (5 << 20) + 3]
    assert sum(sizes) <= 2 * (4 << 10) + 64


def test_no_byte_is_decoded_twice_however_many_candidates_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = "mov $0x00d8000f, %eax\n"  # looks like ltr, and is none
    module = read_module(assembled(".text\n" + inside * 100 + f"{LTR}\n"))
    sizes = counted(monkeypatch)
    assert len(find_ltr(module)) == 1
    assert sum(sizes) == 5 * 100 + 3


def test_more_candidates_than_in_any_kqemu_are_refused_before_they_cost() -> None:
    code = "mov $0x00d8000f, %eax\n" * 200 + f'{LTR}\n.section set_sysinit_set,"a"\n.quad 0\n'
    module = read_module(assembled(f".text\n{code}"))
    with pytest.raises(MatchError, match="more than 128 places in its code look like 'ltr'"):
        find_ltr(module)
    found = assess(module)
    assert found.verdict is Verdict.UNKNOWN_BUILD and found.refusal is not None


def test_more_calls_of_one_function_than_in_any_kqemu_are_refused_before_they_cost() -> None:
    for count in (1024, 1025):
        source = "f: ret\n" + "call f\n" * count
        module = read_module(assembled(f".text\n{source}"), "calls.ko")
        if count <= 1024:
            assert len(find_calls(module, 1, SectionOffset(0))) == count
            continue
        with pytest.raises(MatchError, match="more than 1024 places in its code look like a call"):
            find_calls(module, 1, SectionOffset(0))


INSTRUCTIONS = st.sampled_from(
    [LTR, "nop", "mov $0x00d8000f, %eax", "movabs $0xd8000fd8000f, %rax", "lea 0xf(%rax), %ecx"]
)


@settings(max_examples=25)
@given(st.lists(INSTRUCTIONS, max_size=30), st.lists(INSTRUCTIONS, max_size=30))
def test_every_ltr_is_found_and_nothing_else(first: list[str], second: list[str]) -> None:
    lines = [*first, ".type f, @function", "f:", *second]
    module = read_module(assembled(".text\n" + "\n".join(lines) + "\n"))
    expected = sum(line == LTR for line in lines)
    assert len(find_ltr(module)) == expected
