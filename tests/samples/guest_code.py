"""Small programs for the interpreted guest, and a real CPU model to run them as well."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import unicorn
from unicorn import x86_const as x86

GUEST_BASE: Final = 0xF400_0000
GUEST_SIZE: Final = 0x10000

# SDM vol. 1, 3.4.3: OF, SF, ZF, PF, CF. AF is left undefined by too many instructions.
FLAGS: Final = 0x8C5

REGISTERS: Final = (
    x86.UC_X86_REG_RAX,
    x86.UC_X86_REG_RCX,
    x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_RBX,
    x86.UC_X86_REG_RSP,
    x86.UC_X86_REG_RBP,
    x86.UC_X86_REG_RSI,
    x86.UC_X86_REG_RDI,
    x86.UC_X86_REG_R8,
    x86.UC_X86_REG_R9,
    x86.UC_X86_REG_R10,
    x86.UC_X86_REG_R11,
    x86.UC_X86_REG_R12,
    x86.UC_X86_REG_R13,
    x86.UC_X86_REG_R14,
    x86.UC_X86_REG_R15,
)

PROLOGUE: Final = "mov $0xf4008000, %esp\n"
EPILOGUE: Final = "\nhlt\n"

PROGRAMS: Final = {
    "sums": """
        movabs $0x8877665544332211, %rbx
        mov %rbx, %rax; add %bl, %ah; adc %rbx, %rax; setc %cl; sbb %ebx, %eax
        sub $-3, %ax; cmp %rbx, %rax; setl %dl; setb %dh; xor %r9d, %r9d; or $0x55aa, %r9w
        and $0xf0f0f0f0, %r9d; add $0, %r9; setc %bpl; neg %r9; not %r9w; inc %r9b
        dec %r9d; test %rbx, %rbx
    """,
    "shifts": """
        movabs $0x123456789abcdef1, %rax; mov $9, %cl
        mov %rax, %rbx; rol %cl, %rbx; mov %rax, %rdx; ror $4, %edx; mov %rax, %rsi
        stc; rcl $1, %rsi; rcr $1, %si; mov %rax, %rdi; sar $5, %rdi; shl %cl, %edi
        mov %rax, %r8; shr $1, %r8b; shld $7, %rax, %r8; shrd %cl, %eax, %edx; bswap %r8
        mov $3, %ecx; bt %rcx, %rax; setc %r9b; btc %rcx, %rax; cmp %rcx, %rax
    """,
    "products": """
        mov $-12345, %rax; mov $777, %rbx; imul %rbx; mov %rax, %r10; mov %rdx, %r11
        mov $0xffffffff, %eax; mul %eax; mov $100000, %ecx; mov $5, %edx; div %ecx
        mov %eax, %r12d; mov %edx, %r13d; mov $-1000, %rax; cqo; mov $7, %r14; idiv %r14
        imul $-3, %rax, %r15; imul $1000, %ebx, %esi; mov $200, %al; mov $3, %cl; mul %cl
        movsbq %al, %rdi; movzwl %ax, %ebp; movslq %esi, %r8; cmp %eax, %eax
    """,
    "memory": """
        mov $0xf4009000, %edi; mov $0x1122334455667788, %rax; mov $16, %ecx; rep stosq
        mov $0xf4009001, %esi; mov $0xf4009100, %edi; mov $40, %ecx; rep movsb
        mov $0xf4009000, %ebx; mov $4, %edx; mov 3(%rbx,%rdx,4), %r8; lea -9(%rbx,%rdx,8), %r9
        addl $0x11, (%rbx); xchg %eax, 8(%rbx); cmpxchg %rdx, (%rbx)
        mov $0x77, %al; mov $0xf4009100, %edi; mov $99, %ecx; repne scasb
        mov $0xf4009000, %esi; mov $0xf4009100, %edi; mov $64, %ecx; repe cmpsb
        mov data(%rip), %r10; jmp 1f
        data: .quad 0xfeedfacecafebeef
        1: movb $1, data(%rip); mov data(%rip), %r11; xadd %r10, (%rbx)
    """,
    "calls": """
        mov $8, %edi; call fibonacci; mov %rax, %r15; push $-5; pop %r14; pushf; pop %r13
        and $0x8c5, %r13; jmp 9f
        fibonacci: push %rbx; mov %rdi, %rbx; mov $1, %eax; cmp $2, %rdi; jb 2f
        lea -1(%rbx), %rdi; call fibonacci; push %rax; lea -2(%rbx), %rdi; call fibonacci
        pop %rcx; add %rcx, %rax
        2: pop %rbx; ret
        9: mov $100, %ecx; xor %edx, %edx
        3: add %rcx, %rdx; loop 3b; mov $-1, %eax; cwtl; cltq; cltd
        cmp $5, %edx; cmovl %r14, %rsi; cmovg %r15, %rsi; bsf %r15, %rbp; bsr %r15d, %r12d
        cmp %eax, %eax
    """,
}


def assemble(code: str, work: Path) -> bytes:
    """Machine code at GUEST_BASE, by GNU as and ld."""
    (work / "guest.s").write_text(PROLOGUE + code + EPILOGUE)
    for command in (
        ("as", "-o", "guest.o", "guest.s"),
        ("ld", f"-Ttext={GUEST_BASE:#x}", "--oformat=binary", "-e", "0", "-o", "guest", "guest.o"),
    ):
        subprocess.run(command, cwd=work, check=True)
    return (work / "guest").read_bytes()


def run_on_cpu(code: bytes) -> tuple[tuple[int, ...], int, bytes]:
    """Registers, flags and memory after ``code`` ran up to its ``hlt`` on Unicorn."""
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    engine.mem_map(GUEST_BASE, GUEST_SIZE)
    engine.mem_write(GUEST_BASE, code)
    for register in REGISTERS:
        engine.reg_write(register, 0)
    engine.reg_write(x86.UC_X86_REG_EFLAGS, 2)
    engine.emu_start(GUEST_BASE, GUEST_BASE + len(code) - 1, count=1_000_000)
    registers = tuple(int(engine.reg_read(register)) for register in REGISTERS)
    flags = int(engine.reg_read(x86.UC_X86_REG_EFLAGS)) & FLAGS
    return registers, flags, bytes(engine.mem_read(GUEST_BASE, GUEST_SIZE))
