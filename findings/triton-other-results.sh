#!/bin/sh
# Package:   triton-library 1.0.0rc4 (PyPI), x86-64
# Behaviour: executed with concrete values, `push imm8` with an operand size prefix moves rsp by 8, `popcnt`
#            leaves CF, `ror ax, 16` too, `bt [mem], reg` looks for bits 32 and above in the first
#            four bytes, and `loop` with an address size prefix counts in rcx.
# Expected:  2; CF 0; CF as the result's highest bit; the bit in the string behind the address; ecx (SDM
#            vol. 2: PUSH, POPCNT, RCL/RCR/ROL/ROR, BT with vol. 1, 3.1.1.9, and LOOP).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install triton-library==1.0.0rc4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from triton import ARCH, Instruction, TritonContext

START, DATA, STACK = 0x1000, 0x8000, 0x9000
for text, code, registers, asked in (
    ("push -128, 16 bits", "666a80", {}, "rsp"),
    ("popcnt ecx, eax", "f30fb8c8", {"rax": 1, "cf": 1}, "cf"),
    ("ror ax, 16", "66c1c810", {"rax": 0x8000}, "cf"),
    ("bt [rsi], ecx", "0fa30e", {"rsi": DATA, "rcx": 40}, "cf"),
    ("loop by ecx", "67e210", {"rcx": 0x100000001}, "rip"),
):
    context = TritonContext(ARCH.X86_64)
    context.setConcreteMemoryAreaValue(DATA, b"\0\0\0\0\0\1\0\0")  # of these bits the one at 40
    for name, value in {"rsp": STACK, **registers}.items():
        context.setConcreteRegisterValue(context.getRegister(name), value)
    context.processing(Instruction(START, bytes.fromhex(code)))
    print(f"{text}: {asked} {context.getConcreteRegisterValue(context.getRegister(asked)):#x}")
END
cat > "$work/stated" <<'END'
push -128, 16 bits: rsp 0x8ff8
popcnt ecx, eax: cf 0x1
ror ax, 16: cf 0x0
bt [rsi], ecx: cf 0x0
loop by ecx: rip 0x1013
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
