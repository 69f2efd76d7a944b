#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: a new engine's x87 control word and MXCSR read as 0: every exception unmasked, 24 bits of precision. It
#            computes with 64 bits nevertheless, until the control word is loaded: code that stores it and loads it
#            back unchanged, as every context switch does, has other quotients from then on.
# Expected:  0040 or, after initialisation, 037F, and 1F80 (SDM vol. 3, table 9-1); the precision that the control word
#            says (vol. 1, 8.1.5.2), so the same before and after the same word.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
import struct

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RBX

DIVIDE = "dd03 dc7308 dd5b10"  # fld qword [rbx]; fdiv qword [rbx + 8]; fstp qword [rbx + 16]
KEEP = "d97b18 0fae5b20"  # fnstcw [rbx + 24]; stmxcsr [rbx + 32]
for text, code in (
    ("a new engine", ""),
    ("fnstcw, fldcw", "d97b18 d96b18"),
    ("fnsave, frstor", "dd7340 dd6340"),
    ("fxsave, fxrstor", "0fae4340 0fae4b40"),
    ("fninit", "dbe3"),
):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, 0x10000)
    raw = bytes.fromhex(code + KEEP + DIVIDE)
    engine.mem_write(0x1000, raw)
    engine.mem_write(0x2000, struct.pack("<dd", 1, 3))
    engine.reg_write(UC_X86_REG_RBX, 0x2000)
    engine.emu_start(0x1000, 0x1000 + len(raw))
    quotient, word = struct.unpack("<dH", engine.mem_read(0x2010, 10))
    (mxcsr,) = struct.unpack("<I", engine.mem_read(0x2020, 4))
    print(f"{text}: control word {word:04x}, MXCSR {mxcsr:04x}, 1/3 = {quotient}")
END
cat > "$work/stated" <<'END'
a new engine: control word 0000, MXCSR 0000, 1/3 = 0.3333333333333333
fnstcw, fldcw: control word 0000, MXCSR 0000, 1/3 = 0.3333333432674408
fnsave, frstor: control word 0000, MXCSR 0000, 1/3 = 0.3333333432674408
fxsave, fxrstor: control word 0000, MXCSR 0000, 1/3 = 0.3333333432674408
fninit: control word 037f, MXCSR 0000, 1/3 = 0.3333333333333333
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
