#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: of the BMI instructions `blsi` clears CF where it must set it, `bextr` loses the
#            highest bit where the length reaches beyond the operand, and `bzhi` where its index does.
# Expected:  CF for a source that is not 0 (SDM vol. 2, BLSI); the whole source for a length or an index
#            beyond the operand (BEXTR and BZHI).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn import x86_const as x86

programs = {
    "blsi rax, rcx": ("c4e2f8f3d9", 6, 0),
    "bextr eax, ecx, ebx": ("c4e260f7c1", 0x80000001, 0xFF00),
    "bzhi rax, rcx, rbx": ("c4e2e0f5c1", 0x8000000000000001, 0xC8),
}
for text, (code, source, control) in programs.items():
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    engine.mem_write(0x1000, bytes.fromhex(code))
    engine.reg_write(x86.UC_X86_REG_RCX, source)
    engine.reg_write(x86.UC_X86_REG_RBX, control)
    engine.emu_start(0x1000, 0x1000 + len(code) // 2)
    carry = engine.reg_read(x86.UC_X86_REG_EFLAGS) & 1
    print(f"{text}: of {source:#x} by {control:#x}: {engine.reg_read(x86.UC_X86_REG_RAX):#x}, CF {carry}")
END
cat > "$work/stated" <<'END'
blsi rax, rcx: of 0x6 by 0x0: 0x2, CF 0
bextr eax, ecx, ebx: of 0x80000001 by 0xff00: 0x1, CF 0
bzhi rax, rcx, rbx: of 0x8000000000000001 by 0xc8: 0x1, CF 1
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
