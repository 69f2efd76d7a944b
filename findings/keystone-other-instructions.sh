#!/bin/sh
# Package:   keystone-engine 0.9.2 (PyPI); read back with capstone 5.0.9
# Behaviour: without an error, x86-64 source becomes something else:
#            `gs:[0x34]` without a base is relative to rip, except into eax and rax;
#            `push` of 0x80000000 and above becomes a 16-bit push;
#            a jump over 2 to 4 GiB lands 4 GiB off; `010` is 8; `[rax+rsp]` is [rax] without an index.
# Expected:  the instruction that was written, or an error.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install keystone-engine==0.9.2 capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from keystone import KS_ARCH_X86, KS_MODE_64, Ks

assembler, decoder = Ks(KS_ARCH_X86, KS_MODE_64), Cs(CS_ARCH_X86, CS_MODE_64)
for source, address in (
    ("mov ecx, gs:[0x34]", 0),
    ("mov eax, gs:[0x34]", 0),
    ("push 0x7fffffff", 0),
    ("push 0x80000000", 0),
    ("jmp 0x90000000", 0x1000),
    ("jmp 0x1000", 0x90000000),
    ("mov eax, 010", 0),
    ("lea rax, [rsp+rax]", 0),
    ("lea rax, [rax+rsp]", 0),
):
    code = bytes(assembler.asm(source, address)[0])
    one = next(decoder.disasm(code, address))
    print(f"{source} at {address:#x}: {code.hex()}: {one.mnemonic} {one.op_str}")
END
cat > "$work/stated" <<'END'
mov ecx, gs:[0x34] at 0x0: 658b0d2d000000: mov ecx, dword ptr gs:[rip + 0x2d]
mov eax, gs:[0x34] at 0x0: 65a13400000000000000: movabs eax, dword ptr gs:[0x34]
push 0x7fffffff at 0x0: 68ffffff7f: push 0x7fffffff
push 0x80000000 at 0x0: 66680000: push 0
jmp 0x90000000 at 0x1000: e9fbefff8f: jmp 0xffffffff90000000
jmp 0x1000 at 0x90000000: e9fb0f0070: jmp 0x100001000
mov eax, 010 at 0x0: b808000000: mov eax, 8
lea rax, [rsp+rax] at 0x0: 488d0404: lea rax, [rsp + rax]
lea rax, [rax+rsp] at 0x0: 488d0420: lea rax, [rax + riz]
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
