"""A source fix is switched off only where nothing else of the module can load TR.

Without optimisation the kernel's inline ltr() is a function of its own, beside the fix.
"""

from __future__ import annotations

import pytest

from kpatch.elf.module import read_module
from kpatch.errors import AlreadyFixedError
from kpatch.kqemu.sourcefix import recognise
from kpatch.patch.neutralise import RET, neutralise
from tests.elf.objects import assembled

HELPER = """
    .type load_tr, @function
load_tr: mov %edi, %eax
    ltr %ax
    ret
    .size load_tr, . - load_tr
"""
FIX = """
    .globl kqemu_tss_workaround
    .type kqemu_tss_workaround, @function
kqemu_tss_workaround: push %rbp
    mov $0x30, %edi
    call load_tr
    pop %rbp
    ret
    .size kqemu_tss_workaround, . - kqemu_tss_workaround
    .globl kqemu_exec
    .type kqemu_exec, @function
kqemu_exec: call kqemu_tss_workaround
"""
REST = "    ret\n    .size kqemu_exec, . - kqemu_exec\n"
DEBUG = '    .section .debug_info, "", @progbits\n    .quad load_tr\n'
OTHER_WAYS = {
    "another caller": HELPER + FIX + "    call load_tr\n" + REST,
    "a jump": HELPER + FIX + "    jmp load_tr\n" + REST,
    "its address in an instruction": HELPER + FIX + "    mov $load_tr, %rax\n" + REST,
    "its address, relative": HELPER + FIX + "    .reloc ., R_X86_64_PC32, load_tr - 4\n.long 0\n",
    "its address in data": HELPER + FIX + REST + "    .data\n    .quad load_tr\n",
    "a global": "    .globl load_tr\n" + HELPER + FIX + REST,
    "no size": HELPER.replace(".size load_tr", ".size other") + FIX + REST,
}


def switched_off(source: str) -> tuple[int, bytes]:
    """Where the one byte is written, as an offset into .text, and what is written."""
    module = read_module(assembled(source), "kqemu.ko")
    fix = recognise(module)
    text = module.section_named(".text")
    assert fix is not None and fix.function is not None and text is not None
    assert fix.variant == "A" and len(fix.ltr_sites) == 1
    (change,) = neutralise(module, fix).overwrites
    assert change.offset - text.offset == fix.function.offset
    return fix.function.offset, change.new


@pytest.mark.parametrize("source", [HELPER + FIX + REST, FIX + REST + HELPER + DEBUG], ids=len)
def test_an_ltr_that_only_the_fix_calls_goes_with_the_fix(source: str) -> None:
    assert switched_off(source)[1] == RET


@pytest.mark.parametrize("source", OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_an_ltr_that_something_else_may_reach_keeps_the_fix(source: str) -> None:
    with pytest.raises(AlreadyFixedError, match="put a copy of it elsewhere"):
        switched_off(source)
