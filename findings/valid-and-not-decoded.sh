#!/bin/sh
# Package:   nasm 2.16.01 (ndisasm), llvm 14.0.6 (Debian 12), capstone 5.0.9, iced-x86 1.21.0 (PyPI), 64-bit
# Behaviour: `mov rax, cr0` whose ModRM byte does not have both bits of mod is no instruction for ndisasm and LLVM;
#            `movsxd` without REX.W none for ndisasm; `int1`, reserved nops and a pause with an operand size
#            prefix none for LLVM, and the last of these none for Capstone. iced-x86 knows all of them.
# Expected:  instructions: "the 2 bits in the mod field are ignored" (SDM vol. 2, MOV to/from Control Registers);
#            MOVSXD r32, r/m32 (63 /r); INT1 (F1); 0F 18 to 0F 1F are hinting nops (vol. 2, appendix A, table A-3).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install capstone==5.0.9 iced-x86==1.21.0
apt-get download -qq nasm=2.16.01-1 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
cat > show.py <<'END'
import subprocess

import capstone
from iced_x86 import Decoder, Formatter, FormatterSyntax

engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
formatter = Formatter(FormatterSyntax.INTEL)


def output(*command, given=None):
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True)


for code in ("0f20c0", "0f2000", "0f2280", "63c8", "f1", "66f390", "0f1900", "0f1e00"):
    data = bytes.fromhex(code)
    with open("bytes", "wb") as file:
        file.write(data)
    first = output("ndisasm", "-b64", "bytes").stdout.splitlines()[0].split(None, 2)
    one = next(engine.disasm(data, 0), None)
    llvm = output(
        "llvm-mc-14", "-disassemble", "-triple=x86_64", given=" ".join(f"{each:#x}" for each in data)
    )
    known = {
        "ndisasm": first[1].lower() == code and not first[2].startswith("db "),
        "llvm": "invalid instruction" not in llvm.stderr,
        "capstone": one is not None and one.size == len(data),
    }
    unknown = [name for name in known if not known[name]]
    print(f"{code} {formatter.format(Decoder(64, data).decode())}: unknown to {' '.join(unknown) or 'none'}")
END
venv/bin/python show.py > seen
cat > stated <<'END'
0f20c0 mov rax,cr0: unknown to none
0f2000 mov rax,cr0: unknown to ndisasm llvm
0f2280 mov cr0,rax: unknown to ndisasm llvm
63c8 movsxd ecx,eax: unknown to ndisasm
f1 int1: unknown to llvm
66f390 pause: unknown to llvm capstone
0f1900 nop [rax],eax: unknown to llvm
0f1e00 nop [rax],eax: unknown to llvm
END
diff -u stated seen
cat seen
echo 'as stated'
