"""The freedoms that the description leaves, one module each. kpatch must repair every one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """Macros of image.S and fields.h, options of front.S, and the kernel that it was built for."""

    image: Mapping[str, str] = field(default_factory=dict)
    front: tuple[str, ...] = ()
    kernel: str = "7"


_SIDT_SGDT = "WIDE sidt K_IDT(%rdi); WIDE sgdt K_GDT(%rdi)"

VARIANTS: Mapping[str, Variant] = {
    "plain": Variant(),
    "figures": Variant(
        {  # the five header figures and monitor2kernel exactly as in the build that was measured
            "SAVE_SEGMENT(reg,at)": "mov reg, %eax; WIDE mov %ax, at(%rdi)",
            "SELECTOR": "mov M_TR(%rdi), %eax",
            "SET_DR7": "mov M_DR7(%rdi), %eax; or %eax, %eax; jz 1f; mov %rax, %dr7; 1:",
            "CLEAR_DR7": "mov M_DR7(%rdi), %rax; or %rax, %rax; jz 1f; mov $0, %rax; "
            "mov %rax, %dr7; 1:",
        }
    ),
    "aligned": Variant({"ENTRY_ALIGN": ".p2align 4"}),
    "aligned-nops": Variant({"ENTRY_ALIGN": ".p2align 5, 0x90"}),
    "aligned-int3": Variant({"ENTRY_ALIGN": ".p2align 4, 0xcc"}),
    "rep-ret": Variant({"RETURN": "rep ret"}),
    "ret-imm": Variant({"RETURN": "ret $0"}),
    "segments": Variant(
        {"SEGMENTS": "mov %eax, %ds; mov %eax, %es; xor %edx, %edx; mov %edx, %fs; mov %edx, %gs"}
    ),
    "cli-cld": Variant(
        {
            "ENTRY_EXTRA": "cli; cld",
            "MONITOR_EXTRA": "cld",
            "EXIT_EXTRA": "cli; cld",
            "KERNEL_EXTRA": "cld",
        }
    ),
    "no-frame": Variant(
        {"PROLOGUE": "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15"}
    ),
    "other-order": Variant(
        {
            "PROLOGUE": "push %r15; push %r14; push %r13; push %r12; push %rbp; push %rbx",
            "EPILOGUE": "pop %rbx; pop %rbp; pop %r12; pop %r13; pop %r14; pop %r15",
        }
    ),
    "wide": Variant({"WIDE": "{disp32}"}),
    "short": Variant({"MOVE": "-0x2c", "M_STATE": "0xe8", "K_STATE": "0xf0"}),
    "moved": Variant({"MOVE": "0x340"}),
    "cr4-byte": Variant(
        {
            "WITHOUT_PGE": "mov %cr4, %rcx; mov %rcx, %rdx; and $0x7f, %dl; mov %rdx, %cr4",
            "WITH_PGE": "mov %rcx, %cr4",
        }
    ),
    "cr4-dword": Variant(
        {
            "WITHOUT_PGE": "mov %cr4, %rdx; mov %edx, %ecx; and $~0x80, %edx; mov %rdx, %cr4",
            "WITH_PGE": "mov %rcx, %cr4",
        }
    ),
    "cr4-btr": Variant(
        {
            "WITHOUT_PGE": "mov %cr4, %rcx; btr $7, %rcx; mov %rcx, %cr4",
            "WITH_PGE": "bts $7, %rcx; mov %rcx, %cr4",
        }
    ),
    "cr4-or": Variant(
        {
            "WITHOUT_PGE": "mov %cr4, %r9; and $~0x80, %r9; mov %r9, %cr4",
            "WITH_PGE": "or $0x80, %r9; mov %r9, %cr4",
        }
    ),
    "cr4-xor": Variant(
        {
            "WITHOUT_PGE": "mov %cr4, %rdx; mov $0x80, %ecx; xor %rcx, %rdx; mov %rdx, %cr4",
            "WITH_PGE": "xor %rcx, %rdx; mov %rdx, %cr4",
        }
    ),
    "state-first": Variant(
        {"LOAD_STATE(root,other)": "mov root(%rdi), %rax; mov other(%rdi), %rsi; mov %rsi, %rdi"}
    ),
    "cr3-other": Variant(
        {"LOAD_STATE(root,other)": "mov %rdi, %r10; mov other(%r10), %rdi; mov root(%r10), %rax"}
    ),
    "segment-direct": Variant(
        {"SAVE_SEGMENT(reg,at)": "mov reg, at(%rdi)", "LOAD_SS(at)": "mov at(%rdi), %ss"}
    ),
    "segment-dword": Variant(
        {
            "SAVE_SEGMENT(reg,at)": "mov reg, %eax; mov %eax, at(%rdi)",
            "LOAD_SS(at)": "movzwl at(%rdi), %eax; mov %ax, %ss",
        }
    ),
    "segment-rdx": Variant(
        {
            "SAVE_SEGMENT(reg,at)": "mov reg, %edx; mov %dx, at(%rdi)",
            "LOAD_SS(at)": "mov at(%rdi), %dx; mov %edx, %ss",
        }
    ),
    "push-rax": Variant(
        {
            "PUSH_MONITOR": "mov M_CS(%rdi), %ax; push %rax; mov M_JMP(%rdi), %rax; push %rax",
            "PUSH_KERNEL": "mov K_CS(%rdi), %ax; push %rax; lea kernel_side(%rip), %rax; push %rax",
        }
    ),
    "push-memory": Variant(
        {
            "PUSH_MONITOR": "pushq M_CS(%rdi); pushq M_JMP(%rdi)",
            "PUSH_KERNEL": "pushq K_CS(%rdi); lea kernel_side(%rip), %rdx; push %rdx",
        }
    ),
    "push-stores": Variant(
        {
            "PUSH_MONITOR": "sub $16, %rsp; movzwl M_CS(%rdi), %eax; mov %rax, 8(%rsp); "
            "mov M_JMP(%rdi), %rax; "
            "mov %rax, (%rsp)",
            "PUSH_KERNEL": "sub $16, %rsp; movzwl K_CS(%rdi), %eax; mov %rax, 8(%rsp); "
            "lea kernel_side(%rip), %rax; mov %rax, (%rsp)",
        }
    ),
    "other-slot": Variant({"SLOT": "%rdx", "SLOT32": "%edx", "MOVED": "%rsi"}),
    "slot-r10": Variant({"SLOT": "%r10", "SLOT32": "%r10d", "MOVED": "%rdx"}),
    "selector-again": Variant({"MOVED": "%rax", "SELECTOR_AGAIN": "mov M_TR(%rdi), %ax"}),
    "selector-movzwl": Variant({"SELECTOR": "movzwl M_TR(%rdi), %eax"}),
    "dr7-test": Variant(
        {
            "SET_DR7": "mov M_DR7(%rdi), %rdx; test %rdx, %rdx; je 1f; mov %rdx, %dr7; 1:",
            "CLEAR_DR7": "cmpq $0, M_DR7(%rdi); je 1f; xor %rdx, %rdx; mov %rdx, %dr7; 1:",
        }
    ),
    "dr7-jumps": Variant(
        {
            "SET_DR7": "mov M_DR7(%rdi), %rax; test %rax, %rax; jne 2f; jmp 1f; "
            "2: mov %rax, %dr7; 1:",
            "CLEAR_DR7": "mov M_DR7(%rdi), %rax; test %rax, %rax; jne 2f; jmp 1f; "
            "2: xor %eax, %eax; "
            "mov %rax, %dr7; 1:",
        }
    ),
    "nexus-lea": Variant(
        {"TO_NEXUS": "mov K_NEXUS(%rdi), %rax; lea (nexus - start)(%rax), %rax; jmp *%rax"}
    ),
    "nexus-rdx": Variant(
        {"TO_NEXUS": "mov $(nexus - start), %edx; add K_NEXUS(%rdi), %rdx; jmp *%rdx"}
    ),
    "control-first": Variant(
        {"RESTORE_CONTROL": "LOAD_SS(K_SS); mov K_CR0(%rdi), %rax; mov %rax, %cr0"}
    ),
    "control-rdx": Variant(
        {
            "SAVE_CONTROL": "mov %cr0, %rdx; mov %rdx, K_CR0(%rdi); mov %cr3, %rdx; "
            "mov %rdx, K_CR3(%rdi); "
            "mov %cr4, %rdx; mov %rdx, K_CR4(%rdi)"
        }
    ),
    "exit-rdx": Variant(
        {
            "EXIT_SITE": "mov K_TR(%rdi), %ax; mov %eax, %edx; and $0xfff8, %edx; "
            "add K_GDT+2(%rdi), %rdx; "
            "andl $0xfffffdff, 4(%rdx); ltr %ax"
        }
    ),
    "exit-movzwl": Variant(
        {
            "EXIT_SITE": "movzwl K_TR(%rdi), %eax; mov %eax, %ecx; and $0xfff8, %ecx; "
            "add K_GDT+2(%rdi), %rcx; andl $0xfffffdff, 4(%rcx); ltr %ax"
        }
    ),
    "exit-byte": Variant(
        {
            "EXIT_SITE": "mov K_TR(%rdi), %ax; mov %eax, %ecx; and $0xfff8, %ecx; "
            "add K_GDT+2(%rdi), %rcx; andb $0xfd, 5(%rcx); ltr %ax"
        }
    ),
    "exit-mixed": Variant(
        {
            "EXIT_SITE": "mov K_TR(%rdi), %ax; nop; mov %eax, %ecx; and $0xfff8, %ecx; nop; "
            "add K_GDT+2(%rdi), %rcx; andl $0xfffffdff, 4(%rcx); ltr %ax"
        }
    ),
    "entry-mixed": Variant(
        {
            "ENTRY_SITE": "str K_TR(%rdi); mov %cs, %eax; mov %ax, K_CS(%rdi); "
            + _SIDT_SGDT
            + "; sldt K_LDT(%rdi)"
        }
    ),
    "entry-swapped": Variant({"ENTRY_SITE": f"{_SIDT_SGDT}; str K_TR(%rdi); sldt K_LDT(%rdi)"}),
    "entry-other": Variant(
        {"ENTRY_SITE": "sgdt K_GDT(%rdi); sidt K_IDT(%rdi); sldt K_LDT(%rdi); str K_TR(%rdi)"}
    ),
    "entry-late": Variant(
        {
            "ENTRY_SITE": "mov %cs, %eax; mov %ax, K_CS(%rdi); mov %ss, %edx; mov %dx, K_SS(%rdi); "
            "str K_TR(%rdi); " + _SIDT_SGDT + "; sldt K_LDT(%rdi)"
        }
    ),
    "entry-control": Variant(
        {
            "ENTRY_SITE": "str K_TR(%rdi); "
            + _SIDT_SGDT
            + "; mov %cr0, %rcx; mov %rcx, K_CR0(%rdi); "
            "nop; sldt K_LDT(%rdi)"
        }
    ),
    "exit-late": Variant(
        {
            "KERNEL_EXTRA": "mov K_CR0(%rdi), %rax; mov %rax, %cr0; mov K_SS(%rdi), %ax; "
            "mov %eax, %ss",
            "RESTORE_CONTROL": "nop",
        }
    ),
    "way-by-nexus": Variant(
        {
            "PUSH_KERNEL": "movzwl K_CS(%rdi), %eax; push %rax; mov K_NEXUS(%rdi), %rax; "
            "add $(kernel_side - start), %rax; push %rax"
        }
    ),
    "old-nops": Variant({"ENTRY_ALIGN": ".byte 0x66, 0x66, 0x66, 0x90, 0x66, 0x66, 0x90"}),
    "in-data": Variant(front=("-DARRAY=.data",)),
    "in-data-no-rodata": Variant(front=("-DARRAY=.data", "-DPLAIN_RODATA")),
    "no-rela": Variant(front=("-DPLAIN_RODATA",)),
    "global-image": Variant(front=("-DGLOBAL_IMAGE",)),
    "other-name": Variant(front=("-DIMAGE=embedded_blob",)),
    "stripped": Variant(front=("-DIMAGE=.Limage",)),
    "six": Variant(kernel="6"),
    "eight": Variant(kernel="8"),
}

_EXIT = "mov K_TR(%rdi), %ax; mov %eax, %ecx; and $0xfff8, %ecx; add K_GDT + 2(%rdi), %rcx; "
_BUSY = "andl $0xfffffdff, 4(%rcx); "

REFUSED: Mapping[str, tuple[Variant, str]] = {
    "busy not cleared": (Variant({"EXIT_SITE": _EXIT + "ltr %ax"}), "wanted 'and dword"),
    "another bit cleared": (
        Variant({"EXIT_SITE": _EXIT + "andl $0xfffffeff, 4(%rcx); ltr %ax"}),
        "wanted 'and dword",
    ),
    "busy cleared elsewhere": (
        Variant({"EXIT_SITE": _EXIT + "andl $0xfffffdff, 8(%rcx); ltr %ax"}),
        "wanted 'and dword",
    ),
    "another selector loaded": (
        Variant({"EXIT_SITE": _EXIT.replace("K_TR", "K_LDT") + _BUSY + "ltr %ax"}),
        "$tr_sel is 0x8c already",
    ),
    "another table": (
        Variant({"EXIT_SITE": _EXIT.replace("K_GDT", "K_IDT") + _BUSY + "ltr %ax"}),
        "$gdt is 0x82 already",
    ),
    "stored elsewhere": (
        Variant({"ENTRY_SITE": "str 0x200(%rdi); " + _SIDT_SGDT + "; sldt K_LDT(%rdi)"}),
        "$tr_sel is 0x200 already",
    ),
    "another register loaded": (
        Variant({"EXIT_SITE": _EXIT + _BUSY + "mov %edx, %eax; ltr %ax"}),
        "site 'exit' matches nowhere",
    ),
    "stack saved before": (
        Variant({"ENTRY_EXTRA": "mov %rsp, K_RSP(%rdi)"}),
        "saves the stack pointer",
    ),
    "stack saved between": (
        Variant(
            {
                "ENTRY_SITE": "str K_TR(%rdi); mov %rsp, K_RSP(%rdi); "
                + _SIDT_SGDT
                + "; sldt K_LDT(%rdi)"
            }
        ),
        "site 'entry' matches nowhere",
    ),
    "exit jumped over": (
        Variant({"KERNEL_EXTRA": "testb $1, 0x300(%rdi); jne 7f", "RESTORE_CONTROL": "7: nop"}),
        "goes round it",
    ),
    "exit jumped into": (
        Variant(
            {
                "EXIT_SITE": _EXIT + "7: " + _BUSY + "ltr %ax",
                "RESTORE_CONTROL": "cmp $0, %eax; jne 7b",
            }
        ),
        "jne",
    ),
    "slot used after": (Variant({"RESTORE_CONTROL": "mov 8(%rcx), %rax"}), "still reads rcx"),
    "flags used after": (Variant({"RESTORE_CONTROL": "jz 7f; nop; 7: nop"}), "still reads rflags"),
    "no local selector": (
        Variant({"ENTRY_SITE": "str K_TR(%rdi); " + _SIDT_SGDT}),
        "site 'entry' matches nowhere",
    ),
}
"""What looks like kqemu's switch and must not be patched, and what the refusal has to say."""
