"""Guards of many kinds, each with all pairs at once that are no CPU's number and mask."""

from __future__ import annotations

from typing import Final

import pytest

from kpatch.isa.assemble import assemble
from kpatch.verify.proof.followed import sites_of
from kpatch.verify.proof.tasks import Bounds
from kpatch.verify.proof.whole_switch import mistaken_of
from kpatch.verify.world.guard import Treated, treated
from kpatch.verify.world.places import Places
from kpatch.verify.world.world import World
from tests.verify.mutants.changes import CPUID, Lines
from tests.verify.mutants.variant import RIGHT, Variant, at

_UNKNOWN: Final = at("unknown-layout-private")
_LOADS: Final = "mov ecx, gs:[rdx + 0x34]; mov edx, gs:[rdx + 0x38]"
_NUMBER: Final = "cmp ecx, 31; ja other"
_BIT: Final = "mov eax, 1; shl eax, cl"
_MASK: Final = "cmp eax, edx; jne other"
_CHECK: Final = f"{_NUMBER}; {_BIT}; {_MASK}"
_FOUND: Final = "mov rax, rcx; shl rax, 7; or eax, 1; jmp stash"
_ODD: Final = f"{_NUMBER}; {_BIT}; cmp eax, edx; je fine; {{}}; fine:"
"""Right, but for what gets as far as ``fine``."""

RIGHT_CHECKS: Final = (
    f"{_BIT}; {_MASK}; cmp ecx, 32; jae other",
    f"test ecx, -32; jne other; {_BIT}; xor eax, edx; jne other",
    f"{_NUMBER}; {_BIT}; sub eax, edx; test eax, eax; jne other",
    f"{_NUMBER}; lea eax, [rdx - 1]; test eax, edx; jne other; bt edx, ecx; jae other",
    f"{_NUMBER}; btr edx, ecx; jae other; test edx, edx; jne other",
    f"{_NUMBER}; btc edx, ecx; test edx, edx; jne other",
    f"{_NUMBER}; mov eax, 1; rol eax, cl; {_MASK}",
    "mov eax, 1; shl rax, cl; cmp rax, rdx; jne other; cmp ecx, 63; ja other",
    f"test ecx, ecx; js other; cmp ecx, 31; jg other; {_BIT}; {_MASK}",
    f"{_NUMBER}; {_BIT}; cmp al, dl; jne other; cmp ah, dh; jne other; shr eax, 16; shr edx, 16;"
    "cmp eax, edx; jne other",
    f"call check; jne other; jmp fine; check:; cmp ecx, 31; ja no; {_BIT}; cmp eax, edx; ret; no:;"
    "xor eax, eax; inc eax; ret; fine:",
    f"{_NUMBER}; {_BIT}; push rax; push rdx; pop rax; pop rdx; {_MASK}",
    "xor eax, eax; bts eax, ecx; cmp eax, edx; sete al; cmp ecx, 32; setb ah; and al, ah;je other",
    f"cmp ecx, 32; sbb eax, eax; je other; {_BIT}; {_MASK}",
    f"{_NUMBER}; mov eax, edx; neg eax; and eax, edx; {_MASK}; bt edx, ecx; jae other",
    "test ecx, ecx; jne one; cmp edx, 1; jne other; jmp fine; one:; cmp ecx, 1; jne other;"
    "cmp edx, 2; jne other; fine:",
    f"movsx eax, cl; cmp eax, ecx; jne other; {_CHECK}",
    f"xor eax, eax; cmp ecx, dword ptr gs:[rax + 0x34]; jne other; {_CHECK}",
    "jmp other",
)
"""Behind both loads: to ``other`` for each pair that is no number and its mask."""

WRONG_CHECKS: Final = (
    _ODD.format("cmp ecx, 5; jne other; cmp edx, 0x21; jne other"),
    _ODD.format("cmp edx, 0x12345678; jne other"),
    _ODD.format("imul ecx, edx; cmp ecx, 0x12345678; jne other"),
    f"cmp ecx, 0x12345678; je fine; {_CHECK}; fine:",
    f"{_NUMBER}; {_BIT}; test eax, edx; je other",
    f"{_NUMBER}; bt edx, ecx; jae other",
    f"{_NUMBER}; lea eax, [rdx - 1]; test eax, edx; jne other",
    f"{_NUMBER}; shr edx, cl; cmp edx, 1; jne other",
    f"{_BIT}; {_MASK}",
    f"cmp cl, 31; ja other; {_BIT}; {_MASK}",
    f"cmp cx, 31; ja other; {_BIT}; {_MASK}",
    f"cmp ecx, 31; jg other; {_BIT}; {_MASK}",
    f"movsx eax, cl; cmp eax, 31; jg other; {_BIT}; {_MASK}",
    f"{_NUMBER}; {_BIT}; cmp ax, dx; jne other",
    f"{_NUMBER}; {_BIT}; shl rdx, 33; shr rdx, 33; {_MASK}",
    f"cmp ecx, 63; ja other; {_BIT}; {_MASK}",
    f"popcnt eax, edx; cmp eax, 1; jne other; {_NUMBER}; bt edx, ecx; jae other",
    f"cmp edx, 0x12345678; jne on; ud2; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; ever:; jmp ever; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; std; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; xor edi, edi; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; mov qword ptr [rsp + 8], rax; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; push rax; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; div edx; on:; {_CHECK}",
    f"cmp edx, 0x12345678; jne on; lock add dword ptr [rsp - 8], 0; on:; {_CHECK}",
    f"mov r8, qword ptr [rdi + rdx]; {_CHECK}",
    f"cmp r12, 5; jne on; cmp edx, 0x12345678; je fine; on:; {_CHECK}; fine:",
)
"""Some pair goes on as if it were a CPU's, or leaves something else."""

OTHERS: Final = {
    "the marker is one for one mask": "xor eax, eax; cmp edx, 0x12345678; sete al",
    "the marker is the number's for one mask": "xor eax, eax; cmp edx, 0x12345678; cmove eax, ecx",
    "the number is left": "mov eax, ecx",
    "a bit of the mask is left": "mov eax, edx; and eax, 1",
    "one of two registers is left": "mov rax, r12; cmp edx, 5; je stash; mov rax, r13",
    "one of two bytes is left": "mov al, r12b; cmp edx, 5; je stash; mov rax, r12; shr rax, 8",
    "the number is read again": "xor eax, eax; mov ecx, gs:[rax + 0x34]; push rcx",
}
"""In the place of ``xor eax, eax`` at ``other``."""


@pytest.fixture(scope="module")
def world() -> World:
    """A machine whose entry trampoline is written over: of a case that no other test has."""
    case = Variant("the patch, written over", ()).case
    return case.setup(case.module, _UNKNOWN, Bounds()).world


def _told(world: World, check: str, other: str = "xor eax, eax", loads: str = _LOADS) -> Treated:
    """What is told of the entry trampoline with this guard."""
    case = RIGHT.case
    places = Places(world, case.module, CPUID, sites_of(case.match))
    (patch,) = (region for region in places.patch if region.name == ".text.kpatch")
    code = int(patch.virtual)
    while not (found := places.instruction(code)) or "gs" not in found.text:
        code += len(found.raw) if found else 1
    text = f"{loads}; {check}; {_FOUND}; other:; {other}; stash:; pop rcx; push rax; jmp rcx"
    world.host.arena.write(patch.physical_of(code), assemble(text))
    return treated(world, case.module, CPUID, sites_of(case.match))


@pytest.mark.parametrize("check", RIGHT_CHECKS)
def test_a_guard_that_lets_known_pairs_pass_is_proven(world: World, check: str) -> None:
    assert _told(world, check).unknown == ()


def test_both_may_be_read_at_once(world: World) -> None:
    loads = "mov rcx, gs:[rdx + 0x34]; mov rdx, rcx; shr rdx, 32; mov ecx, ecx"
    assert _told(world, _CHECK, loads=loads).unknown == ()
    loads = "mov rcx, gs:[rdx + 0x34]; mov rdx, rcx; shr rdx, 31; mov ecx, ecx"
    assert _told(world, _CHECK, loads=loads).unknown


@pytest.mark.parametrize("check", WRONG_CHECKS)
def test_a_guard_that_one_other_pair_passes_is_not_proven(world: World, check: str) -> None:
    assert _told(world, check).unknown


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_left_is_one_for_all_pairs(world: World, other: str) -> None:
    assert _told(world, _CHECK, OTHERS[other]).unknown


def test_what_is_left_need_not_be_zero(world: World) -> None:
    assert _told(world, _CHECK, "mov eax, 5; xor ecx, ecx").unknown == ()


def test_parts_of_the_number_and_the_mask_are_not_enough(world: World) -> None:
    for loads in (
        "mov ecx, gs:[rdx + 0x34]; movzx edx, word ptr gs:[rdx + 0x38]",
        "movzx ecx, byte ptr gs:[rdx + 0x34]; mov edx, gs:[rdx + 0x38]",
    ):
        assert _told(world, _CHECK, loads=loads).unknown


@pytest.mark.parametrize(
    ("old", "new", "pair"),
    [
        (
            "jne unknown_layout",
            "je fine; cmp ecx, 5; jne unknown_layout; cmp edx, 0x21; jne unknown_layout; fine:",
            "with 0x5 for the CPU's number, and 0x21 for its mask",
        ),
        (
            "jne unknown_layout",
            "je fine; cmp edx, 0x12345678; jne unknown_layout; fine:",
            "and 0x12345678 for its mask",
        ),
        (
            "cmp ecx, 31",
            "cmp ecx, 0x12345678; je leave_stash; cmp ecx, 31",
            "with 0x12345678 for the CPU's number",
        ),
    ],
)
def test_the_only_pair_that_passes_is_named(old: str, new: str, pair: str) -> None:
    found = mistaken_of(Variant(pair, (Lines(old, new),)).case)
    assert pair in found.wrong
