#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: a move to cr8 is carried out, and forgotten: the next move from cr8 reads 0. cr2, written
#            and read in the same way, keeps its value.
# Expected:  5, as was written: cr8 reads and writes the task priority (Intel SDM vol. 3, 2.5).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RBX

programs = {
    "cr8": "b805000000 440f22c0 440f20c3",  # mov eax, 5; mov cr8, rax; mov rbx, cr8
    "cr2": "b805000000 0f22d0 0f20d3",  # the same with cr2
}
for name, text in programs.items():
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    code = bytes.fromhex(text)
    engine.mem_write(0x1000, code)
    engine.emu_start(0x1000, 0x1000 + len(code))
    print(f"{name}: wrote 5, read {engine.reg_read(UC_X86_REG_RBX)}")
END
cat > "$work/stated" <<'END'
cr8: wrote 5, read 0
cr2: wrote 5, read 5
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
