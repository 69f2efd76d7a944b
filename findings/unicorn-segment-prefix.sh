#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: in 64-bit mode an access with a DS prefix adds the base of the segment that DS was loaded
#            with; the same access without the prefix, or with one for ES, CS or SS, does not.
# Expected:  1 five times: in 64-bit mode the bases of CS, DS, ES and SS are treated as 0, prefix or
#            not (Intel SDM vol. 1, 3.4.4).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
import struct

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_GDTR, UC_X86_REG_RCX


def descriptor(base, access, flags):
    return struct.pack(
        "<HHBBBB", 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, access, flags, base >> 24
    )


TABLE = bytes(8) + descriptor(0, 0x9B, 0xAF) + descriptor(0x100, 0x93, 0xCF)
LOAD_DS = "66b81000 8ed8"  # mov ax, 0x10; mov ds, eax
READ = "488b0c2500200000"  # mov rcx, [0x2000]
for name, prefix in {"none": "", "ds": "3e", "es": "26", "cs": "2e", "ss": "36"}.items():
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, 0x10000)
    engine.mem_write(0x8000, TABLE)
    engine.reg_write(UC_X86_REG_GDTR, (0, 0x8000, len(TABLE) - 1, 0))
    engine.mem_write(0x2000, struct.pack("<Q", 1))
    engine.mem_write(0x2100, struct.pack("<Q", 2))
    code = bytes.fromhex(f"{LOAD_DS} {prefix} {READ}")
    engine.mem_write(0x1000, code)
    engine.emu_start(0x1000, 0x1000 + len(code))
    print(f"prefix {name}: {engine.reg_read(UC_X86_REG_RCX)}")
END
cat > "$work/stated" <<'END'
prefix none: 1
prefix ds: 2
prefix es: 1
prefix cs: 1
prefix ss: 1
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
