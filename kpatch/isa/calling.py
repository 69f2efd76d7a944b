"""What a function may do to registers, as the calling convention has it.

kqemu is compiled C around hand-written code: sites stand where C calls, and returns to C.
"""

from __future__ import annotations

from typing import Final

ARGUMENT: Final = "rdi"
"""The first integer argument. x86-64 psABI 3.2.3."""

SCRATCH: Final = ("rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11")
"""What a function may destroy, but for its first argument. x86-64 psABI 3.2.1, figure 3.4."""

DESTROYED: Final = (*SCRATCH, ARGUMENT)
"""All that a called function may destroy."""
