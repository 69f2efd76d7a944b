#!/bin/sh
# Package:   capstone 5.0.9 (PyPI), Capstone 5.0, x86-64
# Behaviour: regs_access() leaves out registers and flags that instructions read or write, and
#            names some that they do not. `test [mem], reg` reads no second register and writes no
#            flags; `xlatb` has no effect at all; `cmc` reads no flags; `rcl` by a constant neither;
#            `stosq` without `rep` writes rcx; `push fs`, `iretq` and `retf` do not touch rsp;
#            `cmpxchg` with a register writes al, not the destination; with memory it writes nothing.
# Expected:  what SDM volume 2 says of each. A liveness analysis built on this is wrong.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

decoder = Cs(CS_ARCH_X86, CS_MODE_64)
decoder.detail = True
for code in ("8518", "d7", "f5", "c1d003", "48ab", "0fa0", "48cf", "cb", "0fb0c8", "0fb011"):
    one = next(decoder.disasm(bytes.fromhex(code), 0))
    reads, writes = (" ".join(sorted(map(one.reg_name, each))) for each in one.regs_access())
    print(f"{one.mnemonic} {one.op_str}".strip(), f"| reads {reads} | writes {writes}".rstrip())
END
cat > "$work/stated" <<'END'
test dword ptr [rax], ebx | reads rax | writes
xlatb | reads  | writes
cmc | reads  | writes rflags
rcl eax, 3 | reads eax | writes eax rflags
stosq qword ptr [rdi], rax | reads rax rcx rdi rflags | writes rcx rdi
push fs | reads  | writes
iretq | reads  | writes
retf | reads  | writes
cmpxchg al, cl | reads al cl | writes al
cmpxchg byte ptr [rcx], dl | reads al dl rcx | writes
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
