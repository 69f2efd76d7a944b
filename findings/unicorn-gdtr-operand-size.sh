#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: in 64-bit mode, with an operand size prefix, `lgdt`, `lidt`, `sgdt` and `sidt` move 24 bits of the base
#            and clear the other 40: a kernel's table is then at another address. With REX.W too all 64 bits
#            are moved.
# Expected:  the whole base: "in 64-bit mode, the instruction's operand size is fixed at 8+2 bytes" (SDM vol. 2,
#            LGDT/LIDT; the same in SGDT and SIDT).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
import struct

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_GDTR, UC_X86_REG_IDTR, UC_X86_REG_RAX

BASE = 0xFFFFFFFF81234567


def engine(code, memory):
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0, 0x10000)
    uc.mem_write(0x1000, bytes.fromhex(code))
    uc.mem_write(0x6000, memory)
    uc.reg_write(UC_X86_REG_RAX, 0x6000)
    return uc


for name, middle, register in (("gdt", 0x10, UC_X86_REG_GDTR), ("idt", 0x18, UC_X86_REG_IDTR)):
    for prefix in ("", "66", "48", "6648"):
        code = f"{prefix}0f01{middle:02x}"
        uc = engine(code, struct.pack("<HQ", 0x7F, BASE))
        uc.emu_start(0x1000, 0x1000 + len(code) // 2)
        loaded = uc.reg_read(register)[1]
        code = f"{prefix}0f01{middle - 0x10:02x}"
        uc = engine(code, b"\xee" * 16)
        uc.reg_write(register, (0, BASE, 0x7F, 0))
        uc.emu_start(0x1000, 0x1000 + len(code) // 2)
        stored = struct.unpack("<Q", uc.mem_read(0x6002, 8))[0]
        print(f"{prefix or 'none':4} l{name} {loaded:#x}, s{name} {stored:#x}")
END
cat > "$work/stated" <<'END'
none lgdt 0xffffffff81234567, sgdt 0xffffffff81234567
66   lgdt 0x234567, sgdt 0x234567
48   lgdt 0xffffffff81234567, sgdt 0xffffffff81234567
6648 lgdt 0xffffffff81234567, sgdt 0xffffffff81234567
none lidt 0xffffffff81234567, sidt 0xffffffff81234567
66   lidt 0x234567, sidt 0x234567
48   lidt 0xffffffff81234567, sidt 0xffffffff81234567
6648 lidt 0xffffffff81234567, sidt 0xffffffff81234567
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
