#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: of the breakpoints in the debug registers only those on execution raise #DB. One on a write, or on reads and
#            writes, raises nothing and leaves dr6 as it was; DR7.GD does not guard the registers. dr7 reads as it was
#            written all the same.
# Expected:  #DB (1) for each: after the access, with B0 in dr6, for data; before the `mov` from a debug register, with BD in
#            dr6, for GD (SDM vol. 3, "Debug Control Register (DR7)", "Data Memory and I/O Breakpoint Exception Condition" and
#            "General-Detect Exception Condition").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_DR6, UC_X86_REG_DR7, UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX

CODE, DATA = 0x1000, 0x2000
SET = "0f23c0 0f23f9"  # mov dr0, rax; mov dr7, rcx
for text, where, control, then in (
    ("execution", CODE + 7, 0x402, "9090"),  # the second nop
    ("a write of 4 bytes", DATA, 0xD0402, "8903 90"),  # mov [rbx], eax; nop
    ("a read of 4 bytes", DATA, 0xF0402, "8b03 90"),  # mov eax, [rbx]; nop
    ("GD, mov rcx, dr0", DATA, 0x2400, "0f21c1 90"),
):
    raw = bytes.fromhex(SET + then)
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(CODE, 0x2000)
    engine.mem_write(CODE, raw)
    for register, value in ((UC_X86_REG_RAX, where), (UC_X86_REG_RCX, control), (UC_X86_REG_RBX, DATA)):
        engine.reg_write(register, value)
    raised: list[int] = []

    def at_exception(uc, vector, raised):
        raised.append(vector)
        uc.emu_stop()

    engine.hook_add(UC_HOOK_INTR, at_exception, raised)
    engine.emu_start(CODE, CODE + len(raw))
    dr6, dr7 = engine.reg_read(UC_X86_REG_DR6), engine.reg_read(UC_X86_REG_DR7)
    print(f"{text}: exceptions {raised}, dr6 {dr6 & 0xffffffff:#x}, dr7 {dr7:#x}")
END
cat > "$work/stated" <<'END'
execution: exceptions [1], dr6 0xffff0ff1, dr7 0x402
a write of 4 bytes: exceptions [], dr6 0xffff0ff0, dr7 0xd0402
a read of 4 bytes: exceptions [], dr6 0xffff0ff0, dr7 0xf0402
GD, mov rcx, dr0: exceptions [], dr6 0xffff0ff0, dr7 0x2400
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
