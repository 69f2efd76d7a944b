#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: in 64-bit mode `lar` and `lsl` set ZF and give a result for descriptors that are none there: a TSS of the 80286,
#            free or busy, and for `lar` its call gate and a task gate. They are the types of 32-bit mode.
# Expected:  ZF clear and the destination as it was, for types 1, 3, 4 and 5 (SDM vol. 2, LAR and LSL, the tables of segment and
#            gate types: "IA-32e mode").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_32, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EFLAGS, UC_X86_REG_GDTR

CODE, TABLE, SELECTOR, ZF = 0x1000, 0x2000, 0x20, 0x40


def valid(mode, code, kind):
    engine = Uc(UC_ARCH_X86, mode)
    engine.mem_map(CODE, 0x2000)
    engine.mem_write(CODE, code)
    engine.mem_write(TABLE + SELECTOR, bytes([0x67, 0, 0, 0x30, 0, 0x80 | kind, 0, 0]))  # present, the upper half 0
    engine.reg_write(UC_X86_REG_GDTR, (0, TABLE, 0x3F, 0))
    engine.reg_write(UC_X86_REG_ECX, SELECTOR)
    engine.reg_write(UC_X86_REG_EAX, 0x5A5A5A5A)
    engine.emu_start(CODE, CODE + len(code))
    set_by = engine.reg_read(UC_X86_REG_EFLAGS) & ZF != 0
    assert set_by == (engine.reg_read(UC_X86_REG_EAX) != 0x5A5A5A5A)
    return set_by


for bits, mode in ((64, UC_MODE_64), (32, UC_MODE_32)):
    for name, code in (("lar", "0f02c1"), ("lsl", "0f03c1")):
        print(f"{bits} bits, {name} eax, ecx: types", *(kind for kind in range(16) if valid(mode, bytes.fromhex(code), kind)))
END
cat > "$work/stated" <<'END'
64 bits, lar eax, ecx: types 1 2 3 4 5 9 11 12
64 bits, lsl eax, ecx: types 1 2 3 9 11
32 bits, lar eax, ecx: types 1 2 3 4 5 9 11 12
32 bits, lsl eax, ecx: types 1 2 3 9 11
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
