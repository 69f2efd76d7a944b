#!/bin/sh
# Package:   vivisect 1.3.2 (PyPI), its decoder and emulator of amd64
# Behaviour: `xchg r8d, eax` is decoded as nop, `str eax` as the 16-bit form, `rdpid` as vmxon; when emulated,
#            `bswap rax` swaps four bytes and clears the others, and `rol eax, 1` makes a number of 33 bits.
# Expected:  SDM vol. 2: XCHG (41 90 is an exchange), STR (a 32-bit register is zero-extended), RDPID;
#            BSWAP of 8 bytes; a 32-bit result (vol. 1, 3.4.1.1).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install vivisect==1.3.2
"$work/venv/bin/python" - > "$work/seen" <<'END'
from envi.archs.amd64 import Amd64Module

for code in ("4190", "0f00c8", "f30fc7f8"):
    print(f"{code}: {Amd64Module().archParseOpcode(bytes.fromhex(code) + bytes(12), 0, 0)}".rstrip())
for text, code, value in (("bswap rax", "480fc8", 0x1122334455667788), ("rol eax, 1", "d1c0", 0x80000000)):
    emulator = Amd64Module().getEmulator()
    emulator.addMemoryMap(0x1000, 7, "code", bytes.fromhex(code) + b"\x90" * 16)
    emulator.setRegisterByName("rax", value)
    emulator.setProgramCounter(0x1000)
    emulator.stepi()
    print(f"{text}: {value:#x}: {emulator.getRegisterByName('rax'):#x}")
END
cat > "$work/stated" <<'END'
4190: nop
0f00c8: str ax
f30fc7f8: vmxon rax
bswap rax: 0x1122334455667788: 0x88776655
rol eax, 1: 0x80000000: 0x100000001
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
