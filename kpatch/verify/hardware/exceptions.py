"""What the exceptions of a CPU are called."""

from __future__ import annotations

from typing import Final

# SDM vol. 3, table 6-1: mnemonics and vectors.
EXCEPTIONS: Final = {
    0: "#DE divide error", 1: "#DB debug exception", 3: "#BP breakpoint", 4: "#OF overflow",
    6: "#UD invalid opcode", 7: "#NM no FPU", 8: "#DF double fault", 10: "#TS invalid TSS",
    11: "#NP segment not present", 12: "#SS stack fault", 13: "#GP general protection",
    14: "#PF page fault", 16: "#MF FPU error", 17: "#AC alignment check", 18: "#MC machine check",
}  # fmt: skip
"""Vector -> mnemonic and name.

Without the reserved vectors, the NMI, and what comes from devices.
"""
