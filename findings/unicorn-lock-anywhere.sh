#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI); capstone 5.0.9 beside it
# Behaviour: with a LOCK prefix `cmp` and `nop` are refused as invalid, but `mov` in both directions, `push`,
#            `pop`, `call`, `lea`, `movsb`, `test`, a shift, `str` and `cli` run as if it were not there.
#            Code that a CPU ends with an exception at its first instruction passes a test here.
# Expected:  #UD for each: the prefix is for nineteen instructions, with a destination in memory (SDM vol.
#            2, LOCK). Capstone decodes none of these.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4 capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc, UcError
from unicorn.x86_const import UC_X86_REG_RDI, UC_X86_REG_RIP, UC_X86_REG_RSI, UC_X86_REG_RSP

decoder = Cs(CS_ARCH_X86, CS_MODE_64)
for text, code in (
    ("cmp [rdi], eax", "3907"),
    ("nop", "90"),
    ("mov [rdi], rax", "488907"),
    ("mov rax, [rdi]", "488b07"),
    ("push [rdi]", "ff37"),
    ("pop [rdi]", "8f07"),
    ("call", "e800000000"),
    ("lea rax, [rdi]", "488d07"),
    ("movsb", "a4"),
    ("test [rdi], al", "8407"),
    ("shl [rdi], 1", "d127"),
    ("movnti [rdi], eax", "0fc307"),
    ("str [rdi]", "0f000f"),
    ("cli", "fa"),
):
    locked = bytes.fromhex("f0" + code)
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    engine.mem_map(0x8000, 0x1000)
    engine.mem_write(0x1000, locked)
    for register in (UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RSP):
        engine.reg_write(register, 0x8800)
    try:
        engine.emu_start(0x1000, 0x1000 + len(locked))
        outcome = f"runs to {engine.reg_read(UC_X86_REG_RIP):#x}"
    except UcError as error:
        outcome = str(error)
    known = "decoded" if list(decoder.disasm_lite(locked, 0)) else "not decoded"
    print(f"lock {text}: {outcome}; {known} by Capstone")
END
cat > "$work/stated" <<'END'
lock cmp [rdi], eax: Invalid instruction (UC_ERR_INSN_INVALID); not decoded by Capstone
lock nop: Invalid instruction (UC_ERR_INSN_INVALID); not decoded by Capstone
lock mov [rdi], rax: runs to 0x1004; not decoded by Capstone
lock mov rax, [rdi]: runs to 0x1004; not decoded by Capstone
lock push [rdi]: runs to 0x1003; not decoded by Capstone
lock pop [rdi]: runs to 0x1003; not decoded by Capstone
lock call: runs to 0x1006; not decoded by Capstone
lock lea rax, [rdi]: runs to 0x1004; not decoded by Capstone
lock movsb: runs to 0x1002; not decoded by Capstone
lock test [rdi], al: runs to 0x1003; not decoded by Capstone
lock shl [rdi], 1: runs to 0x1003; not decoded by Capstone
lock movnti [rdi], eax: runs to 0x1004; not decoded by Capstone
lock str [rdi]: runs to 0x1004; not decoded by Capstone
lock cli: runs to 0x1002; not decoded by Capstone
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
