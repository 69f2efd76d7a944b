"""Guards that take for a struct pcpu what is none, for a few values only; some that do not.

Every one of them is right where struct pcpu is known, and refuses most of what is none.
"""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, before
from tests.verify.mutants.variant import Variant
from tests.verify.mutants.wrong import READS, SAME, STRIDE

_ABOVE: Final = "ja unknown_layout"
_OTHER: Final = "jne unknown_layout"
_MASK: Final = "mov edx, gs:[rdx + $cpuid + 4]"
_BIT: Final = "bts eax, ecx"
_LAST: Final = "cmp ecx, 31"


def _guard(name: str, old: str, new: str) -> Variant:
    return Variant(name, (Lines(old, new),))


BROAD: Final = (
    _guard("a mask that is too small", _OTHER, "jb unknown_layout"),
    _guard("a mask that is too large, as signed numbers go", _OTHER, "jg unknown_layout"),
    _guard("a byte of the mask", _MASK, "mov dl, gs:[rdx + $cpuid + 4]"),
    _guard("two bytes of the mask", _MASK, "mov dx, gs:[rdx + $cpuid + 4]"),
    _guard("the number 32", _LAST, "cmp ecx, 32"),
    _guard("numbers up to 32, by another condition", _LAST, "test cl, 32"),
    _guard("a number with the highest bit", _ABOVE, "jns unknown_layout"),
    _guard("a number whose difference overflows", _ABOVE, "jo unknown_layout"),
    _guard("16 bits of the mask, by the number modulo 16", _BIT, "bts ax, cx"),
    _guard("a mask that is the number's sum", "cmp eax, edx", "add eax, edx"),
    _guard("any mask for CPU 7", "cmp eax, edx", "cmp ecx, 7; je fine; cmp eax, edx; fine:"),
)
NUMBERS: Final = tuple(
    Variant(name, (Lines(STRIDE, f"{change}; {STRIDE}"),))
    for name, change in (
        ("CPU 0 for CPU 16", "and ecx, 15"),
        ("CPU 0 for CPU 4", "and ecx, 3"),
        ("CPU 15 for the later ones", "cmp ecx, 15; jbe fine; mov ecx, 15; fine:"),
        ("another one for CPU 31", "cmp ecx, 31; jne fine; dec ecx; fine:"),
    )
)
"""Right for the first CPUs only: the TSS of a later one is taken for another's."""

_PLACE: Final = "movabs r9, =common_tss; mov r10, rsi; sub r10, r9"
"""r10 := 104 times the number."""

NEW_WAYS: Final = (
    Variant(
        "no lock from CPU 16 on",
        (before("acquire:", f"{_PLACE}; cmp r10d, 1664; jae none"), before("owner:", "none:")),
    ),
    Variant(
        "another lock from CPU 20 on",
        (before("acquire:", f"{_PLACE}; and r10d, 0x800; shr r10d, 5; add r8, r10"),),
    ),
)
"""Right for the first CPUs only, in what the others see of it."""

_OTHERS: Final = "movabs r9, =common_tss; cmp rsi, r9; jbe fine; {code}; fine:"
"""Something under the lock that the first CPU, whose runs are compared, does not do."""

ELSEWHERE: Final = (
    (READS, "the GDT, on other CPUs than the first", "mov r9, rcx; sub r9, 16; mov r9, qword [r9]"),
    (SAME, "a bit of the state, on the others", "mov r9d, 0x1000; bts qword [$state + 0x82], r9"),
)
LONG: Final = Variant(
    "the first CPU lingers",
    (
        before(
            "test rsi, rsi; je as_before",
            "movabs r9, =common_tss; cmp rsi, r9; jne fine; mov r9d, 60; slow:; dec r9d; jne slow;"
            "fine:",
        ),
    ),
)


def elsewhere(name: str, code: str) -> Variant:
    """The patch, with this code."""
    return Variant(name, (before("test rsi, rsi; je as_before", _OTHERS.format(code=code)),))


NARROW: Final = (
    _guard("fifteen CPUs", _LAST, "cmp ecx, 15"),
    _guard("the mask by a shift", f"xor eax, eax; {_BIT}", "mov eax, 1; shl eax, cl"),
)
