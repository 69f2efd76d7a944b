"""What the switch must give back to the kernel as it found it."""

from __future__ import annotations

from typing import Final

from kpatch.verify.machine.properties.base import Property, Seen
from kpatch.verify.world.hostile_guest import CLEAR_FLAGS, HOSTILE_FLAGS

# psABI 3.2.1: registers that belong to the caller. rsp is looked at apart.
# The debug addresses belong to a process that is being debugged.
_PRESERVED: Final = (
    "rbx", "rbp", "r12", "r13", "r14", "r15", "cr0", "cr3", "cr4", "cs", "ss",
    "dr0", "dr1", "dr2", "dr3", "dr6", "cr2",
)  # fmt: skip
_TABLES: Final = ("gdtr", "idtr", "ldtr")
_IF: Final = 1 << 9
_DF: Final = 1 << 10
_NT: Final = 1 << 14
_OF_THE_GUEST: Final = 1 << 21 | 1 << 18 | 1 << 16 | 3 << 12  # ID, AC, RF, IOPL
_BREAKPOINTS: Final = 0x23FF  # DR7: local and global enable bits, LE and GE, general detect
# kqemu_exec takes its own flags back with popfq, so the switch may leave the guest's.
_AS_LEFT: Final = frozenset({HOSTILE_FLAGS & _OF_THE_GUEST, CLEAR_FLAGS & _OF_THE_GUEST})


class Restored(Property):
    """The calling convention, and the machine that kqemu_exec expects to be in again."""

    name = "restored"
    sentence = (
        "The switch returns with the callee-saved registers, rsp, control registers, tables, "
        "debug addresses and status, cr2 and stack segment as before, interrupts off, no "
        "breakpoint on, the direction and nested-task flags clear, other system flags as before or "
        "as the guest left them."
    )

    def complaint(self, seen: Seen) -> str | None:
        """Compare the registers at the return with those at the call."""
        before, after = seen.called, seen.returned
        if after is None:
            return None
        wrong = [
            f"{name} is {after[name]:#x}, was {before[name]:#x}"
            for name in _PRESERVED
            if after[name] != before[name]
        ]
        if after["rsp"] != before["rsp"] + 8:
            wrong.append(f"rsp is {after['rsp']:#x}, not {before['rsp'] + 8:#x}")
        wrong += [
            f"{name} is another" for name in _TABLES if after.table(name) != before.table(name)
        ]
        if after["rflags"] & _IF:
            wrong.append("interrupts are on")
        if after["rflags"] & _DF:
            wrong.append("the direction flag is set (psABI 3.2.1: clear on return)")
        if after["rflags"] & _NT:
            wrong.append("the nested-task flag is set (SDM vol. 2: iretq faults with it)")
        if after["rflags"] & _OF_THE_GUEST not in _AS_LEFT:
            wrong.append(f"the flags are {after['rflags']:#x}: ID, AC, RF or IOPL are new")
        if after["dr7"] & _BREAKPOINTS:
            wrong.append("DR7 is still the guest's")
        return "; ".join(wrong) or None
