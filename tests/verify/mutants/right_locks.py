"""Locks of every kind, each right, and each with the siblings that are not.

The kinds are those of the literature: test-and-set in its x86 forms, tickets, Peterson, Dekker,
Lamport's bakery, the queue lock of Mellor-Crummey and Scott (MCS); and two that fit this patch
only: the busy bit as the lock, and a GDT of the CPU's own, which needs none.
"""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Change, Lines, after, before
from tests.verify.mutants.locks import RELEASE, SPIN
from tests.verify.mutants.machine_state import entry
from tests.verify.mutants.variant import TSO, Mutant, Variant, at

TAKEN: Final = f"{SPIN}; owner:"

TWO: Final = (at("two-rounds"), at("leave", model=TSO))
"""For locks of two CPUs that find their number in the stash: only where there is one."""

ANY: Final = (
    at("leave", 3),
    at("moving", model=TSO),
    at("private-gdt"),
    at("unknown-layout", model=TSO),
)


def ticket(take: str, release: str) -> tuple[Change, ...]:
    """Take a number, wait until it is called, call the next one."""
    return Lines(TAKEN, f"{take}; owner:"), Lines(RELEASE, release)


TAKE_TICKET: Final = (
    "mov r9d, 1; {lock} xadd word [r8], r9w; jmp look; busy:; pause; look:; "
    "cmp word [r8 + 2], r9w; jne busy"
)
CALL_NEXT: Final = "inc word [r8 + 2]"
LARGE_TICKET: Final = (
    "mov r9d, 1; lock xadd dword [r8], r9d; look:; mov r10d, dword [r8 + 4]; cmp r10d, r9d;"
    "je owner; pause; jmp look"
)

# Two CPUs who call themselves 0 and 104, after the places of their TSSs. r9: the own flag, r8: the
# other's, r10: the own number, r11: where the turn is. The flag's address is kept in r11.
NUMBERED: Final = (
    "movabs r9, =common_tss; mov r10, rsi; sub r10, r9; movabs r9, =kpatch_tss_lock;"
    "mov r11, r9; add r8, 104; sub r8, r10; add r9, r10"
)
FREE_FLAG: Final = "mov dword [r11], 0"


def numbered(take: str, release: str = FREE_FLAG) -> tuple[Change, ...]:
    """A lock that knows the CPU's number."""
    return (
        Lines(TAKEN, f"{NUMBERED}; {take}; owner:; mov r11, r9"),
        Lines(RELEASE, release),
    )


WANT: Final = "mov dword [r9], 1; mov dword [r11 + 512], r10d"


def peterson(fence: str, want: str = WANT, release: str = FREE_FLAG) -> tuple[Change, ...]:
    """Peterson 1981: say that you want, let the other one go first, wait."""
    return numbered(
        f"{want}; {fence}; look:; cmp dword [r8], 0; je owner;"
        "cmp dword [r11 + 512], r10d; jne owner; pause; jmp look",
        release,
    )


def dekker(fence: str) -> tuple[Change, ...]:
    """Dekker (Dijkstra 1965): who has not the turn steps back."""
    return numbered(
        f"want:; mov dword [r9], 1; {fence}; look:; cmp dword [r8], 0; je owner;"
        "cmp dword [r11 + 512], r10d; je wait; mov dword [r9], 0; back:; pause;"
        "cmp dword [r11 + 512], r10d; jne back; jmp want; wait:; pause; jmp look",
        "mov r9, r11; movabs r10, =kpatch_tss_lock; sub r9, r10; mov r8d, 104; sub r8d, r9d;"
        f"mov dword [r10 + 512], r8d; {FREE_FLAG}",
    )


def bakery(first: str, second: str, choosing: str = "mov dword [r9 + 4], 1") -> tuple[Change, ...]:
    """Lamport 1974, for two CPUs: the lower number goes first, of equal ones CPU 0."""
    return numbered(
        f"{choosing}; {first}; mov r11d, dword [r8]; inc r11d; mov dword [r9], r11d;"
        f"mov dword [r9 + 4], 0; {second}; look:; pause; cmp dword [r8 + 4], 0; jne look;"
        "mov r11d, dword [r8]; test r11d, r11d; je owner; cmp r11d, dword [r9]; ja owner; jb look;"
        "test r10d, r10d; jne look"
    )


# A node of the CPU's own: the next one at +0, "wait" at +8. The queue's tail is the lock word.
ENQUEUE: Final = (
    "movabs r9, =common_tss; mov r10, rsi; sub r10, r9; mov r9, r8; add r9, r10; add r9, 256;"
    "mov qword [r9], 0; mov r10, r9; {swap}; test r10, r10; je owner; {link};"
    "busy:; pause; cmp dword [r9 + 8], 0; jne busy"
)
DEQUEUE: Final = (
    "cmp qword [r11], 0; jne pass; mov rax, r11; xor r10d, r10d; {lock} cmpxchg qword [r8], r10;"
    "je done; later:; pause; cmp qword [r11], 0; je later; pass:; mov r9, qword [r11];"
    "mov dword [r9 + 8], 0; done:"
)


def mcs(
    swap: str = "xchg qword [r8], r10",
    link: str = "mov dword [r9 + 8], 1; mov qword [r10], r9",
    lock: str = "lock",
) -> tuple[Change, ...]:
    """Mellor-Crummey and Scott 1991."""
    return (
        Lines(TAKEN, f"{ENQUEUE.format(swap=swap, link=link)}; owner:; mov r11, r9"),
        Lines(RELEASE, f"{DEQUEUE.format(lock=lock)}; nop"),
    )


AT_ENTRY: Final = (
    "movabs r8, =kpatch_tss_lock; again:; mov r9d, 1; {take}; test r9d, r9d; je mine;"
    "held:; pause; cmp dword [r8], 0; jne held; jmp again; mine:"
)


def taken_at_entry(take: str = "xchg dword [r8], r9d") -> tuple[Change, ...]:
    """Held while the guest runs: slow, and right."""
    return entry(AT_ENTRY.format(take=take)), Lines(TAKEN, "owner:")


BUSY_BIT: Final = (
    "acquire:; {lock} btr dword [rcx + 4], 9; jb owner; busy:; pause; test byte [rcx + 5], 2;"
    "je busy; jmp acquire; owner:"
)


def busy_bit(lock: str) -> tuple[Change, ...]:
    """Who clears the busy bit owns the descriptor; ``ltr`` sets it again."""
    return Lines(TAKEN, BUSY_BIT.format(lock=lock)), Lines(RELEASE, "nop")


# A copy of the GDT on the stack, with a descriptor of the CPU's own in it.
OWN_GDT: Final = (
    "test rsi, rsi; je acquire; sub rsp, 128; mov r9, qword [$state + $gdt + 2]; xor r10d, r10d;"
    "mov r8, rsp; copy:; mov r11, qword [r9]; mov qword [r8 + 16], r11; add r9, 8; add r8, 8;"
    "add r10d, 8; cmp r10d, 104; jb copy; mov r9d, eax; and r9d, 65528; add r9, rsp;"
    "mov r10d, esi; and r10d, 16777215; shl r10, 16; movabs r11, 0x0000890000000067; or r10, r11;"
    "mov r11d, esi; shr r11d, 24; shl r11, 56; or r10, r11; mov qword [r9 + 16], r10; shr rsi, 32;"
    "mov dword [r9 + 24], esi; mov dword [r9 + 28], 0; mov word [rsp], 103; lea r9, [rsp + 16];"
    "mov qword [rsp + 2], r9; lgdt [rsp]; ltr ax; {back}; add rsp, 128; jmp rdx"
)


def own_gdt(back: str = "lgdt [$state + $gdt]") -> tuple[Change, ...]:
    """No lock where the CPU is known: nothing is shared."""
    return (before("acquire:", OWN_GDT.format(back=back)),)


BORROW: Final = (
    "acquire:; {lock} sub dword [r8], 1; jb owner; busy:; pause; cmp dword [r8], 0; jne busy;"
    "jmp acquire; owner:"
)

COUNT_IN: Final = "lock inc dword [r8 + 64]; all:; pause; cmp dword [r8 + 64], 2; jb all"

LOCKS: Final = (
    Variant("tickets", ticket(TAKE_TICKET.format(lock="lock"), CALL_NEXT)),
    Variant("tickets of 32 bits", ticket(LARGE_TICKET, "inc dword [r8 + 4]")),
    Variant("a lock that counts down", (Lines(TAKEN, BORROW.format(lock="lock")),)),
    Variant("taken at the entry, released at the exit", taken_at_entry()),
    Variant("the busy bit is the lock", busy_bit("lock")),
)
OF_TWO: Final = (
    Variant("Peterson's lock", peterson("mfence")),
    Variant("Peterson's lock with a locked add", peterson("lock add dword [rsp], 0")),
    Variant("Dekker's lock", dekker("mfence")),
    Variant("the bakery", bakery("mfence", "mfence")),
    Variant("MCS", mcs()),
)
OWN: Final = Variant("a GDT of the CPU's own", own_gdt())
ALL: Final = (*LOCKS, *OF_TWO, OWN)

TSO_LEAVE: Final = at("leave", model=TSO)
IN_ORDER: Final = (at("leave"),)
NO_FAULT, OWN_TSS, PROGRESS = "no-fault", "own-tss", "progress"
RACE: Final = (NO_FAULT, OWN_TSS)

MUTANTS: Final = (
    Mutant(
        "tickets taken without LOCK",
        ticket(TAKE_TICKET.format(lock=""), CALL_NEXT),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "a ticket calls two numbers",
        ticket(TAKE_TICKET.format(lock="lock"), f"{CALL_NEXT}; {CALL_NEXT}"),
        (PROGRESS,),
    ),
    Mutant("a ticket calls nobody", ticket(TAKE_TICKET.format(lock="lock"), "nop"), (PROGRESS,)),
    Mutant(
        "a ticket calls the second number for ever",
        ticket(TAKE_TICKET.format(lock="lock"), "mov word [r8 + 2], 1"),
        (PROGRESS,),
    ),
    Mutant(
        "a ticket goes on while its number is less than the one that is called",
        ticket(TAKE_TICKET.format(lock="lock").replace("jne busy", "ja busy"), CALL_NEXT),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "tickets of 32 bits taken without LOCK",
        ticket(LARGE_TICKET.replace("lock ", ""), "inc dword [r8 + 4]"),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "a ticket is not waited for",
        ticket("mov r9d, 1; lock xadd word [r8], r9w", CALL_NEXT),
        RACE,
    ),
    Mutant(
        "a lock that counts down without LOCK",
        (Lines(TAKEN, BORROW.format(lock="")),),
        (*RACE, PROGRESS),
    ),
    Mutant("taken at the entry by a load", taken_at_entry("mov r9d, dword [r8]"), RACE),
    Mutant(
        "taken at the entry, released never",
        (*taken_at_entry(), Lines(RELEASE, "nop")),
        (PROGRESS,),
    ),
    Mutant(
        "taken at the entry, released before the write",
        (*taken_at_entry(), before("test rsi, rsi; je as_before", RELEASE)),
        RACE,
    ),
    Mutant("the busy bit is taken without LOCK", busy_bit(""), (*RACE, "descriptor", PROGRESS)),
    Mutant(
        "the busy bit is taken by whoever comes",
        (
            Lines(TAKEN, BUSY_BIT.format(lock="lock").replace("jb owner", "jmp owner")),
            Lines(RELEASE, "nop"),
        ),
        RACE,
    ),
    *(
        Mutant(f"{name} with {fence}", make(fence), RACE, TSO_LEAVE, passes=IN_ORDER)
        for name, make, fence in (
            ("Peterson's lock", peterson, "nop"),
            ("Peterson's lock", peterson, "sfence"),
            ("Peterson's lock", peterson, "lfence"),
            ("Dekker's lock", dekker, "nop"),
            ("Dekker's lock", dekker, "sfence"),
            ("Dekker's lock", dekker, "lfence"),
        )
    ),
    Mutant(
        "the bakery with lfence behind the number",
        bakery("mfence", "lfence"),
        RACE,
        TSO_LEAVE,
        passes=IN_ORDER,
    ),
    Mutant(
        "the bakery with sfence behind the choice",
        bakery("sfence", "mfence"),
        RACE,
        TSO_LEAVE,
        passes=IN_ORDER,
    ),
    Mutant("the bakery without the choice", bakery("mfence", "mfence", "nop"), RACE),
    Mutant(
        "Peterson's lock, the turn given away before the flag is up",
        peterson("mfence", "mov dword [r11 + 512], r10d; mov dword [r9], 1"),
        RACE,
    ),
    Mutant("Peterson's lock, the flag stays up", peterson("mfence", release="nop"), (PROGRESS,)),
    Mutant("Peterson's lock, the turn is kept", peterson("mfence", "mov dword [r9], 1"), RACE),
    Mutant(
        "MCS, the tail taken by a load and a store",
        mcs(swap="mov r10, qword [r8]; mov qword [r8], r9"),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "MCS, linked before it says that it waits",
        mcs(link="mov qword [r10], r9; mov dword [r9 + 8], 1"),
        (PROGRESS,),
    ),
    Mutant("MCS, the queue left without LOCK", mcs(lock=""), (PROGRESS,)),
    Mutant("a GDT of the CPU's own stays in force", own_gdt("nop"), (NO_FAULT,)),
    Mutant(
        "nobody goes on before another CPU has come",
        (
            before(
                "acquire:", "lock inc dword [r8 + 64]; all:; pause; cmp dword [r8 + 64], 2; jb all"
            ),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "nobody leaves before another CPU has come",
        (after(RELEASE, COUNT_IN),),
        (PROGRESS,),
    ),
    Mutant(
        "the CPUs take turns",
        numbered(
            "look:; pause; cmp dword [r11 + 512], r10d; jne look; mov r9, r10",
            "mov r10d, 104; sub r10d, r11d; movabs r9, =kpatch_tss_lock;mov dword [r9 + 512], r10d",
        ),
        (PROGRESS,),
    ),
)
