#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: with paging on, uc_context_restore gives cr3 its saved value back and keeps the translations of the cr3
#            before: a load reads through page tables that cr3 does not name. Writing to cr3 the value that it reads as
#            puts it right.
# Expected:  the memory of the tables that cr3 names: a change of cr3 ends the translations that are not global (SDM
#            vol. 3, 4.10.4.1), and uc_reg_write to cr3 does so.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_MSR,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
)

LOAD, TO_CR3, PAGE = 0x1000, 0x1100, 0x100000  # code, code, and the one page that the tables map differently
FIRST, SECOND = 0x10000, 0x20000  # the roots of the tables


def tables(engine, root, frame):
    for level in range(3):
        engine.mem_write(root + 0x1000 * level, (root + 0x1000 * (level + 1) | 3).to_bytes(8, "little"))
    for page in range(512):
        where = frame if page << 12 == PAGE else page << 12
        engine.mem_write(root + 0x3000 + 8 * page, (where | 3).to_bytes(8, "little"))


for how in ("uc_reg_write", "mov cr3, rcx"):
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, 0x200000)
    tables(engine, FIRST, 0x50000)
    tables(engine, SECOND, 0x60000)
    engine.mem_write(0x50000, b"first...")
    engine.mem_write(0x60000, b"second..")
    engine.mem_write(LOAD, bytes.fromhex("488b03"))  # mov rax, [rbx]
    engine.mem_write(TO_CR3, bytes.fromhex("0f22d9"))  # mov cr3, rcx
    engine.reg_write(UC_X86_REG_CR4, 0x20)
    engine.reg_write(UC_X86_REG_CR3, FIRST)
    engine.reg_write(UC_X86_REG_MSR, (0xC0000080, 0xD00))
    engine.reg_write(UC_X86_REG_CR0, 0x80010033)
    engine.reg_write(UC_X86_REG_RBX, PAGE)
    engine.reg_write(UC_X86_REG_RCX, SECOND)

    def load(when, engine=engine, how=how):
        engine.emu_start(LOAD, LOAD + 3)
        cr3, read = engine.reg_read(UC_X86_REG_CR3), engine.reg_read(UC_X86_REG_RAX).to_bytes(8, "little")
        print(f"{how}, {when}: cr3 {cr3:#x} reads {read.decode()}")

    load("at first")
    saved = engine.context_save()
    if how == "uc_reg_write":
        engine.reg_write(UC_X86_REG_CR3, SECOND)
    else:
        engine.emu_start(TO_CR3, TO_CR3 + 3)
    load("changed")
    engine.context_restore(saved)
    load("restored")
    engine.reg_write(UC_X86_REG_CR3, engine.reg_read(UC_X86_REG_CR3))
    load("cr3 written as it is")
END
cat > "$work/stated" <<'END'
uc_reg_write, at first: cr3 0x10000 reads first...
uc_reg_write, changed: cr3 0x20000 reads second..
uc_reg_write, restored: cr3 0x10000 reads second..
uc_reg_write, cr3 written as it is: cr3 0x10000 reads first...
mov cr3, rcx, at first: cr3 0x10000 reads first...
mov cr3, rcx, changed: cr3 0x20000 reads second..
mov cr3, rcx, restored: cr3 0x10000 reads second..
mov cr3, rcx, cr3 written as it is: cr3 0x10000 reads first...
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
