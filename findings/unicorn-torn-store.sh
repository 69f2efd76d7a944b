#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: a store that reaches into a page that is not mapped, or not writable, fails, and has by then
#            written its bytes in the first page: memory holds half of the new value beside half of the
#            old one, though rip and the registers are those from before. `xchg` and `add`, which read
#            first, do it where the second page may be read.
# Expected:  nothing written: a fault leaves the state of before the instruction, so that it can be
#            restarted (SDM vol. 3, 6.5 and 6.6).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_READ, Uc, UcError
from unicorn.x86_const import UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RIP, UC_X86_REG_RSP

for behind in ("nothing", "a page for reading"):
    for text, code in (
        ("mov [rdi], rcx", "48890f"),
        ("push rcx", "51"),
        ("stosq", "48ab"),
        ("xchg [rdi], rcx", "48870f"),
        ("add [rdi], rcx", "48010f"),
    ):
        engine = Uc(UC_ARCH_X86, UC_MODE_64)
        engine.mem_map(0x1000, 0x1000)
        engine.mem_map(0x8000, 0x1000)
        if behind != "nothing":
            engine.mem_map(0x9000, 0x1000, UC_PROT_READ)
        engine.mem_write(0x8FF8, b"\xee" * 8)
        engine.mem_write(0x1000, bytes.fromhex(code))
        engine.reg_write(UC_X86_REG_RCX, 0x1122334455667788)
        engine.reg_write(UC_X86_REG_RDI, 0x8FFC)
        engine.reg_write(UC_X86_REG_RSP, 0x9004)
        try:
            engine.emu_start(0x1000, 0x1000 + len(code) // 2)
            outcome = "no error"
        except UcError as error:
            outcome = str(error).split("(")[1].rstrip(")")
        rip = engine.reg_read(UC_X86_REG_RIP)
        print(f"{behind}, {text}: {outcome}, rip {rip:#x},", engine.mem_read(0x8FF8, 8).hex())
END
cat > "$work/stated" <<'END'
nothing, mov [rdi], rcx: UC_ERR_WRITE_UNMAPPED, rip 0x1000, eeeeeeee88776655
nothing, push rcx: UC_ERR_WRITE_UNMAPPED, rip 0x1000, eeeeeeee88776655
nothing, stosq: UC_ERR_WRITE_UNMAPPED, rip 0x1000, eeeeeeee00000000
nothing, xchg [rdi], rcx: UC_ERR_READ_UNMAPPED, rip 0x1000, eeeeeeeeeeeeeeee
nothing, add [rdi], rcx: UC_ERR_READ_UNMAPPED, rip 0x1000, eeeeeeeeeeeeeeee
a page for reading, mov [rdi], rcx: UC_ERR_WRITE_PROT, rip 0x1000, eeeeeeee88776655
a page for reading, push rcx: UC_ERR_WRITE_PROT, rip 0x1000, eeeeeeee88776655
a page for reading, stosq: UC_ERR_WRITE_PROT, rip 0x1000, eeeeeeee00000000
a page for reading, xchg [rdi], rcx: UC_ERR_WRITE_PROT, rip 0x1000, eeeeeeee88776655
a page for reading, add [rdi], rcx: UC_ERR_WRITE_PROT, rip 0x1000, eeeeeeee76665544
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
