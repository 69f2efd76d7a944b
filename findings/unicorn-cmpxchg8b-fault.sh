#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: where `cmpxchg8b` or `cmpxchg16b` may not write, the error comes with rip at the end of the block, three
#            instructions further on, and with rax and rdx already replaced by what memory holds.
#            `fxsave`, `xsave`, `fnsave`, `fnstenv` and `fbstp` leave rip there too. Who mends the page and
#            starts again at rip goes on without the store. `cmpxchg`, `xadd`, `sgdt` and `str` are right.
# Expected:  rip of the instruction and the registers of before it: a fault can be restarted (SDM vol. 3,
#            6.5 and 6.6).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_READ, Uc, UcError
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RDX, UC_X86_REG_RIP

for text, code in (
    ("cmpxchg", "480fb10f"),
    ("xadd", "480fc107"),
    ("sgdt", "0f0107"),
    ("str", "0f000f"),
    ("cmpxchg8b", "0fc70f"),
    ("cmpxchg16b", "480fc70f"),
    ("lock cmpxchg16b", "f0480fc70f"),
    ("fnstenv", "d937"),
    ("fnsave", "dd37"),
    ("fbstp", "df37"),
    ("fxsave", "0fae07"),
    ("xsave", "0fae27"),
):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    engine.mem_map(0xA000, 0x1000, UC_PROT_READ)
    engine.mem_write(0x1000, bytes.fromhex(code) + b"\x90" * 3)
    engine.mem_write(0xA000, bytes.fromhex("55000000000000006600000000000000"))
    for register, value in (
        (UC_X86_REG_RDI, 0xA000),
        (UC_X86_REG_RAX, 1),
        (UC_X86_REG_RDX, 2),
    ):
        engine.reg_write(register, value)
    try:
        engine.emu_start(0x1000, 0x1003 + len(code) // 2)
        outcome = "no error"
    except UcError as error:
        outcome = str(error).split("(")[1].rstrip(")")
    rip, rax, rdx = (
        engine.reg_read(each) for each in (UC_X86_REG_RIP, UC_X86_REG_RAX, UC_X86_REG_RDX)
    )
    print(f"{text}: {outcome}, rip {rip:#x}, rax {rax:#x}, rdx {rdx:#x}")
END
cat > "$work/stated" <<'END'
cmpxchg: UC_ERR_WRITE_PROT, rip 0x1000, rax 0x1, rdx 0x2
xadd: UC_ERR_WRITE_PROT, rip 0x1000, rax 0x1, rdx 0x2
sgdt: UC_ERR_WRITE_PROT, rip 0x1000, rax 0x1, rdx 0x2
str: UC_ERR_WRITE_PROT, rip 0x1000, rax 0x1, rdx 0x2
cmpxchg8b: UC_ERR_WRITE_PROT, rip 0x1006, rax 0x55, rdx 0x0
cmpxchg16b: UC_ERR_WRITE_PROT, rip 0x1007, rax 0x55, rdx 0x66
lock cmpxchg16b: UC_ERR_WRITE_PROT, rip 0x1008, rax 0x55, rdx 0x66
fnstenv: UC_ERR_WRITE_PROT, rip 0x1005, rax 0x1, rdx 0x2
fnsave: UC_ERR_WRITE_PROT, rip 0x1005, rax 0x1, rdx 0x2
fbstp: UC_ERR_WRITE_PROT, rip 0x1005, rax 0x1, rdx 0x2
fxsave: UC_ERR_WRITE_PROT, rip 0x1006, rax 0x1, rdx 0x2
xsave: UC_ERR_WRITE_PROT, rip 0x1006, rax 0x1, rdx 0x2
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
