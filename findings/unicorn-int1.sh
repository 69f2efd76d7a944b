#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: `int1` (F1) is an invalid instruction, though `int3`, `int 1` and the trap after a single step are
#            reported to the same hook, with the vectors 3, 1 and 1.
# Expected:  the vector 1: INT1 raises #DB (SDM vol. 2, INT n/INTO/INT3/INT1: F1, valid in 64-bit mode).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc, UcError
from unicorn.x86_const import UC_X86_REG_EFLAGS, UC_X86_REG_RIP

for text, code, flags in (
    ("int3", "cc", 2),
    ("int 1", "cd01", 2),
    ("nop with TF", "90", 0x102),
    ("int1", "f1", 2),
):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    engine.mem_write(0x1000, bytes.fromhex(code) + b"\x90" * 4)
    engine.reg_write(UC_X86_REG_EFLAGS, flags)
    raised: list[int] = []

    def at_exception(uc, vector, raised):
        raised.append(vector)
        uc.emu_stop()

    engine.hook_add(UC_HOOK_INTR, at_exception, raised)
    try:
        engine.emu_start(0x1000, 0x1004)
        outcome = "no error"
    except UcError as error:
        outcome = str(error)
    print(f"{text}: {outcome}, vectors {raised}, rip {engine.reg_read(UC_X86_REG_RIP):#x}")
END
cat > "$work/stated" <<'END'
int3: no error, vectors [3], rip 0x1001
int 1: no error, vectors [1], rip 0x1002
nop with TF: no error, vectors [1], rip 0x1001
int1: Invalid instruction (UC_ERR_INSN_INVALID), vectors [], rip 0x1000
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
