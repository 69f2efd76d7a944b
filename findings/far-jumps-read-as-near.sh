#!/bin/sh
# Package:   capstone 5.0.9, iced-x86 1.21.0 (PyPI); llvm 14.0.6 (Debian 12), 64-bit
# Behaviour: FF /5 and FF /3 without a prefix are `jmp ptr` and `call ptr` for Capstone, by number and group the near
#            ones, with an operand of 8 bytes; with a prefix they are `ljmp` and `lcall`. LLVM in Intel
#            syntax writes `jmp [rax]`, which its own assembler reads as the near jump; in AT&T syntax it is right.
# Expected:  a far jump through m16:32, which is 6 bytes and loads CS (SDM vol. 2, JMP and CALL).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install capstone==5.0.9 iced-x86==1.21.0
apt-get download -qq llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
llvm() {
    llvm-mc-14 -triple=x86_64 "$@"
}
encoding() {
    llvm -show-encoding | sed -n 's/.*encoding: \[\(.*\)\]/\1/p'
}
{
    venv/bin/python - <<'END'
import capstone
from iced_x86 import Decoder, Formatter, FormatterSyntax

engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
engine.detail = True
formatter = Formatter(FormatterSyntax.INTEL)
for code in ("ff28", "ff18", "48ff28", "66ff18", "ff20"):
    data = bytes.fromhex(code)
    one = next(engine.disasm(data, 0))
    name, size = engine.insn_name(one.id), one.operands[0].size
    print(f"{code}: capstone {one.mnemonic} {one.op_str}, which is {name} with {size} bytes; iced {formatter.format(Decoder(64, data).decode())}")
END
    for code in '0xff 0x28' '0xff 0x18' '0x48 0xff 0x28'; do
        intel=$(echo "$code" | llvm -disassemble -output-asm-variant=1 | sed '/\.text/d' | xargs)
        at=$(echo "$code" | llvm -disassemble | sed '/\.text/d' | xargs)
        echo "$code: llvm $intel, which it reads as $({ echo .intel_syntax noprefix; echo "$intel"; } | encoding); $at, as $(echo "$at" | encoding)"
    done
} > seen
cat > stated <<'END'
ff28: capstone jmp ptr [rax], which is jmp with 8 bytes; iced jmp far fword ptr [rax]
ff18: capstone call ptr [rax], which is call with 8 bytes; iced call far fword ptr [rax]
48ff28: capstone ljmp [rax], which is ljmp with 10 bytes; iced jmp far tbyte ptr [rax]
66ff18: capstone lcall [rax], which is lcall with 10 bytes; iced call far dword ptr [rax]
ff20: capstone jmp qword ptr [rax], which is jmp with 8 bytes; iced jmp qword ptr [rax]
0xff 0x28: llvm jmp [rax], which it reads as 0xff,0x20; ljmpl *(%rax), as 0xff,0x28
0xff 0x18: llvm call [rax], which it reads as 0xff,0x10; lcalll *(%rax), as 0xff,0x18
0x48 0xff 0x28: llvm ljmp [rax], which it reads as 0x48,0xff,0x28; ljmpq *(%rax), as 0x48,0xff,0x28
END
diff -u stated seen
cat seen
echo 'as stated'
