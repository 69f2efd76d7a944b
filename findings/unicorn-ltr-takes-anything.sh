#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: in 64-bit mode `ltr` loads a null selector, a 16-bit TSS, a descriptor with a reserved bit of
#            its upper half set, and a base that is not canonical.
# Expected:  #GP (13) for each, as for the busy TSS (SDM vol. 2, LTR; vol. 3, 8.2.3: of the upper half's
#            type field each bit must be 0, and 16-bit TSSs are not supported).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
import struct

from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_GDTR, UC_X86_REG_RAX


def descriptor(base=0x2000, kind=0x89, last=0):
    low = struct.pack("<HHBBBB", 0x67, base & 0xFFFF, base >> 16 & 0xFF, kind, 0, base >> 24 & 0xFF)
    return low + struct.pack("<II", base >> 32, last)


for name, selector, entry in (
    ("a free TSS", 0x30, descriptor()),
    ("a busy TSS", 0x30, descriptor(kind=0x8B)),
    ("a null selector", 0, bytes(16)),
    ("a 16-bit TSS", 0x30, descriptor(kind=0x81)),
    ("bit 12 of the last word", 0x30, descriptor(last=1 << 12)),
    ("a base that is not canonical", 0x30, descriptor(base=1 << 47)),
):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, 0x10000)
    engine.mem_write(0x8000 + selector, entry)
    engine.mem_write(0x1000, b"\x0f\x00\xd8")  # ltr ax
    engine.reg_write(UC_X86_REG_GDTR, (0, 0x8000, 0x7F, 0))
    engine.reg_write(UC_X86_REG_RAX, selector)
    faults = []
    engine.hook_add(UC_HOOK_INTR, lambda uc, number, data: (data.append(number), uc.emu_stop()), faults)
    engine.emu_start(0x1000, 0x1003)
    print(f"{name}: {f'exception {faults[0]}' if faults else 'loaded'}")
END
cat > "$work/stated" <<'END'
a free TSS: loaded
a busy TSS: exception 13
a null selector: loaded
a 16-bit TSS: loaded
bit 12 of the last word: loaded
a base that is not canonical: loaded
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
