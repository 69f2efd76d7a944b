"""The proof too sees an instruction moved past what it needs, or a live register destroyed.

The modules are refused before they are patched; here that check is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from kpatch.errors import MatchError
from kpatch.patch.apply import apply_plan
from kpatch.patch.plan import make_plan
from kpatch.signature import scan
from kpatch.signature.load import load_signatures
from kpatch.verify.proof.tasks import Case
from kpatch.verify.proof.whole_switch import run_checks
from tests.secondsource.build import build

_EXIT = (
    "mov K_TR(%rdi), %ax; mov %eax, %ecx; and $0xfff8, %ecx; add K_GDT+2(%rdi), %rcx; "
    "andl $0xfffffdff, 4(%rcx); "
)
_CONTROL = "; mov K_CR0(%rdi), %rax; mov %rax, %cr0; LOAD_SS(K_SS)"
_SLOT = "mov K_GDT+2(%rdi), %rdx; movzwl K_TR(%rdi), %esi; add %rsi, %rdx"

CASES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "a carry that the and clears": (
        {"KERNEL_EXTRA": "stc", "EXIT_SITE": f"{_EXIT} rclb $1, 0x330(%rdi); ltr %ax"},
        "it reads CF",
    ),
    "a load of the descriptor": (
        {
            "KERNEL_EXTRA": _SLOT,
            "EXIT_SITE": f"{_EXIT} mov 4(%rdx), %ebx; mov %ebx, 0x330(%rdi); ltr %ax",
        },
        "it uses memory that may be the descriptor",
    ),
    "a register that test reads": (
        {
            "KERNEL_EXTRA": "mov $5, %edx",
            "RESTORE_CONTROL": f"test %edx, 0x330(%rdi); sete 0x331(%rdi){_CONTROL}",
        },
        "still reads rdx",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_must_not_be_patched_is_not_proven_either(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, why = CASES[name]
    module = read_module(build(tmp_path, "7", image).read_bytes(), "kqemu.ko")
    with pytest.raises(MatchError, match=why):
        scan.find_any(module, load_signatures())
    monkeypatch.setattr(scan, "require_patchable", lambda module, match: None)
    match = scan.find_any(module, load_signatures())
    plan = make_plan(module, match, cpuid=0x34, tss_stride=104)
    patched = read_module(apply_plan(plan), "kqemu.ko")
    checks = run_checks(Case(patched, module, match, 0x34))
    assert "same-effect" in [each.name for each in checks if each.wrong]
