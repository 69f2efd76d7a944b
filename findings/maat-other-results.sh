#!/bin/sh
# Package:   pymaat 0.6.9 (PyPI), an emulator for x86-64 by Ghidra's SLEIGH specification
# Behaviour: `pop rsp` loads the word and adds 8 to it. A register that is given 2**63 or more, as a Python int, holds 0,
#            without an error; the same value arrives whole from an instruction.
# Expected:  the word itself (SDM vol. 2, POP: rsp is incremented before the word is written into it); the value that
#            was given, or an exception.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install pymaat==0.6.9 unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
import maat, unicorn
from unicorn import x86_const

CODE, STACK, WORD = 0x1000, 0x8000, 0x1122334455667788

def in_maat(code, register, value=None):
    engine = maat.MaatEngine(maat.ARCH.X64)
    engine.mem.map(CODE, CODE + 0xFFF, maat.PERM.RWX)
    engine.mem.map(STACK, STACK + 0xFFF, maat.PERM.RW)
    engine.mem.write(CODE, bytes.fromhex(code) + b"\x90" * 16)
    engine.mem.write(STACK, WORD.to_bytes(8, "little"))
    engine.cpu.rsp = STACK
    if value is not None:
        setattr(engine.cpu, register, value)
    engine.run_from(CODE, 1)
    return getattr(engine.cpu, register).as_uint()

def in_unicorn(code, register, value=None):
    machine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    machine.mem_map(0, 0x10000)
    machine.mem_write(CODE, bytes.fromhex(code))
    machine.mem_write(STACK, WORD.to_bytes(8, "little"))
    machine.reg_write(x86_const.UC_X86_REG_RSP, STACK)
    number = getattr(x86_const, "UC_X86_REG_" + register.upper())
    if value is not None:
        machine.reg_write(number, value)
    machine.emu_start(CODE, CODE + len(code) // 2)
    return machine.reg_read(number)

for text, *what in (
    ("pop rsp", "5c", "rsp"),
    ("rax given 2**63 - 1, nop", "90", "rax", 2**63 - 1),
    ("rax given 2**63, nop", "90", "rax", 2**63),
    ("rax given 2**64 - 1, nop", "90", "rax", 2**64 - 1),
    ("mov rax, -1", "48c7c0ffffffff", "rax"),
):
    print(f"{text}: {what[1]} maat {in_maat(*what):#x}, unicorn {in_unicorn(*what):#x}")
END
cat > "$work/stated" <<'END'
pop rsp: rsp maat 0x1122334455667790, unicorn 0x1122334455667788
rax given 2**63 - 1, nop: rax maat 0x7fffffffffffffff, unicorn 0x7fffffffffffffff
rax given 2**63, nop: rax maat 0x0, unicorn 0x8000000000000000
rax given 2**64 - 1, nop: rax maat 0x0, unicorn 0xffffffffffffffff
mov rax, -1: rax maat 0xffffffffffffffff, unicorn 0xffffffffffffffff
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
