#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: `wrmsr` writes bases and entry points that are not canonical, PAT entries of a reserved type, and MSRs that
#            there are none of, which then read as 0. A reserved bit of EFER, CR4 or the upper half of DR7 is left out
#            without a word. None raises an exception; the `xsetbv` beside it does.
# Expected:  #GP (13) for each (SDM vol. 2, WRMSR, MOV to/from Control and Debug Registers; vol. 3, 2.2.1, 2.5 and
#            11.12.2).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX

NOT_CANONICAL = 0x0000_8000_0000_0000
WRITE_AND_READ = "0f30 31c0 31d2 0f32"  # wrmsr; xor eax, eax; xor edx, edx; rdmsr
RDX_TO_RAX = "48c1e220 4809d0"  # shl rdx, 32; or rax, rdx
for text, code, number, value in (
    ("GS base", WRITE_AND_READ + RDX_TO_RAX, 0xC0000101, NOT_CANONICAL),
    ("LSTAR", WRITE_AND_READ + RDX_TO_RAX, 0xC0000082, NOT_CANONICAL),
    ("PAT", WRITE_AND_READ + RDX_TO_RAX, 0x277, 0x0202020202020202),
    ("EFER", WRITE_AND_READ + RDX_TO_RAX, 0xC0000080, 1 << 40 | 0x500),
    ("no such MSR", WRITE_AND_READ + RDX_TO_RAX, 0x12345, 5),
    ("cr4", "0f22e0 0f20e0", 0, 1 << 40 | 0x20),
    ("dr7", "0f23f8 0f21f8", 0, 1 << 40 | 0x400),
    ("xsetbv", "0f01d1", 0, 0),
):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    raw = bytes.fromhex(code)
    engine.mem_write(0x1000, raw)
    engine.reg_write(UC_X86_REG_RCX, number)
    engine.reg_write(UC_X86_REG_RAX, value & 0xFFFFFFFF if number else value)
    engine.reg_write(UC_X86_REG_RDX, value >> 32)
    raised: list[int] = []

    def at_exception(uc, vector, raised):
        raised.append(vector)
        uc.emu_stop()

    engine.hook_add(UC_HOOK_INTR, at_exception, raised)
    engine.emu_start(0x1000, 0x1000 + len(raw))
    if raised:
        print(f"{text}: {value:#x} raises {raised}")
    else:
        print(f"{text}: {value:#x} written, {engine.reg_read(UC_X86_REG_RAX):#x} read")
END
cat > "$work/stated" <<'END'
GS base: 0x800000000000 written, 0x800000000000 read
LSTAR: 0x800000000000 written, 0x800000000000 read
PAT: 0x202020202020202 written, 0x202020202020202 read
EFER: 0x10000000500 written, 0x500 read
no such MSR: 0x5 written, 0x0 read
cr4: 0x10000000020 written, 0x20 read
dr7: 0x10000000400 written, 0x400 read
xsetbv: 0x0 raises [13]
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
