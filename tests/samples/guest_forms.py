"""Programs that go through the interpreter's instructions in every operand size.

With those of guest_code they run every line of ``samples/src/interpreter*``. What the SDM leaves
undefined is masked away where the flags are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ALL: Final = 0x8C5  # OF, SF, ZF, PF, CF: SDM vol. 1, 3.4.3
CARRY: Final = 0x001
ZERO: Final = 0x040
NO_OVERFLOW: Final = 0x0C5
PRODUCT: Final = 0x801  # mul and imul leave the others undefined

# The suffix, the accumulator, its other half, and two more registers.
BYTES: Final = ("b", "al", "ah", "r8b", "r9b")
SHORT: Final = ("w", "ax", "dx", "r8w", "r9w")
LONG: Final = ("l", "eax", "edx", "r8d", "r9d")
QUAD: Final = ("q", "rax", "rdx", "r8", "r9")
WIDE: Final = (SHORT, LONG, QUAD)
SIZES: Final = (BYTES, *WIDE)

START: Final = """
    movabs $0x8f7e6d5c4b3a2918, %rax; mov %rax, %r8; movabs $0x123456789abcdef1, %r9
    mov %r9, %rbx; mov $0xf4009000, %edi; mov $64, %ecx; rep stosq; mov $0xf4009000, %edi
    mov $0xf4009100, %esi; mov $5, %ecx; xor %edx, %edx
"""


def forms(lines: str, sizes: Sequence[tuple[str, ...]] = SIZES, keep: int = ALL) -> str:
    """``lines`` in each size; the flags behind each line are kept on the stack."""
    kept = f"; pushfq; andq ${keep:#x}, (%rsp)\n"
    return "".join(
        kept.join(filter(None, map(str.strip, lines.splitlines()))).format(
            s=suffix, a=accumulator, d=other, x=first, y=second
        )
        + kept
        for suffix, accumulator, other, first, second in sizes
    )


def _arithmetic() -> str:
    return START + "".join(
        forms(f"""
            {name}{{s}} %{{y}}, (%rdi)
            {name}{{s}} 8(%rdi), %{{x}}
            {name}{{s}} %{{y}}, %{{x}}
            {name}{{s}} $0x71, %{{a}}
            {name}{{s}} $0x7f, %{{y}}
            {name}{{s}} $-3, 16(%rdi)
        """)
        + forms(f"{name}{{s}} $0x1234, 0x200(%rdi)", WIDE)
        + forms(f"{name}{{s}} $0x1234, %{{a}}", WIDE)
        for name in ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
    )


def _single() -> str:
    return (
        START
        + forms("""
        inc{s} (%rdi)
        dec{s} 8(%rdi)
        inc{s} %{x}
        dec{s} %{y}
        neg{s} 16(%rdi)
        neg{s} %{x}
        test{s} %{y}, %{x}
        test{s} $0x5a, %{a}
        test{s} $0x5a, 8(%rdi)
        test{s} $0x5a, data(%rip)
        xchg{s} %{x}, (%rdi)
        mov{s} %{x}, %{y}; mov{s} %{y}, 24(%rdi); mov{s} 3(%rdi), %{x}
        mov{s} $0x55, 32(%rdi); mov{s} $0x66, %{a}; not{s} %{a}; not{s} 5(%rdi)
        cmpxchg{s} %{x}, (%rdi)
        mov{s} (%rdi), %{a}; cmpxchg{s} %{y}, (%rdi)
        xadd{s} %{x}, 8(%rdi)
        xadd{s} %{x}, %{y}
    """)
        + "jmp 1f; data: .quad 0x8a; 1: nop; nopl (%rdi)\n"
    )


def _shifts() -> str:
    rotates = "".join(
        f"stc; {name}{{s}} %{{x}}\nclc; {name}{{s}} (%rdi)\n"
        for name in ("rol", "ror", "rcl", "rcr", "shl", "shr", "sar")
    )
    counted = rotates.replace("{s} ", "{s} $3, ") + rotates.replace("{s} ", "{s} %cl, ")
    none = "xor %ecx, %ecx; rcl{s} %cl, %{x}; shl{s} $0, %{y}; mov $5, %ecx"
    double = "".join(
        f"{name}{{s}} {count}, %{{x}}, {target}\n"
        for name in ("shld", "shrd")
        for count in ("$4", "%cl")
        for target in ("%{y}", "8(%rdi)")
    )
    return (
        START
        + forms(rotates)
        + forms(counted, keep=CARRY)
        + forms(none)
        + forms(double, WIDE, NO_OVERFLOW)
        + forms("bt{s} %{y}, %{x}\nbts{s} %{y}, %{x}\nbtr{s} %{x}, %{y}", WIDE, CARRY)
        + forms("btc{s} %{y}, %{x}", WIDE, CARRY)
        + forms("bsf{s} %{x}, %{y}\nbsr{s} (%rdi), %{a}", WIDE, ZERO)
        + forms("mov $0, %r8d; bsf{s} %{x}, %{y}; mov %rax, %r8", WIDE, ZERO)
        + "bswap %rax; bswap %r9d; bswap %ebx; cmp %eax, %eax\n"
    )


def _products() -> str:
    small = "mov $2, %eax; mov $3, %r8d; {0}{{s}} %{{x}}\n"
    large = "mov %rbx, %rax; mov %rbx, %r8; {0}{{s}} %{{x}}\n"
    quotients = """
        mov $0x7d, %eax; mov $0, %edx; mov $7, %r8d; div{s} %{x}
        mov $0x7d, %eax; mov $0, %edx; mov $-7, %r8; idiv{s} %{x}
        mov $-0x7d, %rax; mov $-1, %rdx; mov $7, %r8d; idiv{s} %{x}
        mov $-0x7d, %rax; mov $-1, %rdx; mov $-7, %r8; idiv{s} %{x}
    """
    return (
        START
        + forms((small + large).format("mul") + (small + large).format("imul"), keep=PRODUCT)
        + forms("imul{s} %{y}, %{x}\nimul{s} (%rdi), %{x}", WIDE, PRODUCT)
        + forms("imul{s} $-7, %{y}, %{x}\nimul{s} $1234, 8(%rdi), %{x}", WIDE, PRODUCT)
        + forms("mov $3, %r9d; imul{s} $2, %{y}, %{x}; imul{s} %{x}, %{y}", WIDE, PRODUCT)
        + forms(quotients, keep=0)
        + "cmp %eax, %eax\n"
    )


def _moves() -> str:
    extended = "".join(
        f"mov{kind}{size}{{s}} {source}, %{{y}}\n"
        for kind in "sz"
        for size, register in (("b", "%dl"), ("w", "%dx"))
        for source in (register, "1(%rdi)")
    )
    return (
        START
        + "mov $0xf4e5, %edx\n"
        + forms(extended.replace("movsw{s}", "movsw{s} ").replace("  ", " "), WIDE[1:])
        + "movsbw %dl, %r9w; movzbw 2(%rdi), %r10w; movslq (%rdi), %r11; movslq %edx, %r12\n"
        + ".byte 0x63, 0x17, 0x66, 0x63, 0xda, 0x66, 0x0f, 0xb7, 0x07, 0x66, 0x0f, 0xbf, 0xc2\n"
        + forms("lea{s} 0x300(%rdi,%rcx,2), %{x}\nlea{s} 0x11(,%rcx,8), %{y}", WIDE)
        + forms("xchg{s} %{a}, %{y}\nmov{s} $0x4321, %{a}\ncmova{s} %{y}, %{x}", WIDE)
        + forms("cmovbe{s} %{x}, %{y}", WIDE)
        + "mov $0x8081, %eax; cbtw; mov %rax, %r8; cwtl; mov %rax, %r9; cltq; mov %rax, %r10\n"
        + "mov $0x8081, %eax; cwtd; mov %rdx, %r11; cltd; mov %rdx, %r12; mov $-5, %rax; cqto\n"
        + "push $0x12345678; popq 40(%rdi); pushq 40(%rdi); pop %r13; enter: push %rbp\n"
        + "mov %rsp, %rbp; push %r13; leave; stc; cmc; rdtsc; xor %eax, %eax; xor %edx, %edx\n"
    )


def _strings() -> str:
    return (
        START
        + forms("""
            movs{s}
            stos{s}
            lods{s}
            scas{s}
            cmps{s}
            mov $3, %ecx; rep movs{s}
            mov $3, %ecx; rep stos{s}
            mov $3, %ecx; rep lods{s}
            mov $9, %ecx; repne scas{s}
            mov $9, %ecx; repe scas{s}
            mov $9, %ecx; repe cmps{s}
            mov $9, %ecx; repne cmps{s}
            std; stos{s}; movs{s}; cld
            mov $0, %ecx; rep movs{s}; rep stos{s}; rep lods{s}
        """)
        + "mov $0xf4009000, %eax; sub %rax, %rdi; sub %rax, %rsi; cmp %eax, %eax\n"
    )


def _conditions() -> str:
    names = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
    states = (0x000, 0x001, 0x040, 0x080, 0x004, 0x800, 0x880, 0x8C5)
    near = "".join(f"j{name} 1f; inc %r8; 1: rcl %r9; " for name in names)
    far = "".join(f"j{name} 2f; jmp 1f; .skip 130; 2: inc %r8; 1: " for name in names)
    sets = "".join(f"set{name} %bl; add %rbx, %r10; push ${{0}}; popfq; " for name in names)
    return (
        "xor %ebx, %ebx; xor %r10d, %r10d; xor %r8d, %r8d; mov $1, %r9d\n"
        + "".join(f"push ${state}; popfq; {sets.format(state)}{near}\n" for state in states)
        + f"push $0x41; popfq; {far}; jrcxz 3f; ud2; 3: mov $4, %ecx; 4: inc %r11; cmp $3, %r11\n"
        + "loopne 4b; mov $4, %ecx; 5: inc %r12; cmp $9, %r12; loopne 5b; mov $4, %ecx\n"
        + "6: cmp %eax, %eax; loope 6b; mov $4, %ecx; 7: cmp $1, %ecx; loope 7b\n"
        + "lea 8f(%rip), %rax; jmp *%rax; ud2; 8: lea 9f(%rip), %rax; call *%rax; pop %r14\n"
        + "jmp 1f; 9: push $7; pushq 8(%rsp); ret $8; 1: cmp %eax, %eax\n"
    )


FORMS: Final = {
    "arithmetic forms": _arithmetic(),
    "single forms": _single(),
    "shift forms": _shifts(),
    "product forms": _products(),
    "move forms": _moves(),
    "string forms": _strings(),
    "conditions": _conditions(),
}

# What stops the guest, in each size: an access outside its memory, a quotient that does not fit.
FAULTS: Final = (
    *(f"xor %edi, %edi; mov{s} (%rdi), %{x}" for s, _, _, x, _ in SIZES),
    *(f"xor %edi, %edi; mov{s} %{x}, (%rdi)" for s, _, _, x, _ in SIZES),
    "xor %edi, %edi; movslq (%rdi), %r8",
    "mov $0xf400ffff, %eax; movb $0x66, (%rax); jmp *%rax",
)
DIVISIONS: Final = (
    *(f"mov $1, %r8d; mov %{x}, %{d}; div{s} %{x}" for s, _, d, x, _ in SIZES if d != "ah"),
    "mov $0x100, %eax; mov $1, %dl; div %dl",
    *(f"xor %r8d, %r8d; idiv{s} %{x}" for s, _, _, x, _ in SIZES),
)
# lea of a register, and numbers of a group that mean nothing.
INVALID: Final = (
    ".byte 0x8d, 0xc0",
    ".byte 0x66, 0x8d, 0xc0",
    ".byte 0x48, 0x8d, 0xc0",
    ".byte 0xff, 0xff",
    ".byte 0xfe, 0xd0",
    ".byte 0x0f, 0x04",
    ".byte 0x06",
)
