"""Guards that take for a struct pcpu what is none, for a few values only; some that do not.

Every one of them is right where struct pcpu is known, and refuses most of what is none.
"""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines
from tests.verify.mutants.variant import Variant
from tests.verify.mutants.whole_switch import STRIDE

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

NARROW: Final = (
    _guard("fifteen CPUs", _LAST, "cmp ecx, 15"),
    _guard("the mask by a shift", f"xor eax, eax; {_BIT}", "mov eax, 1; shl eax, cl"),
)
