#!/bin/sh
# Package:   libdisasm0 0.23 (Debian 12), by ctypes, 32-bit code; iced-x86 1.21.0 (PyPI) for comparison
# Behaviour: a far pointer is written as the lower half of its offset, twice, and its segment not at all; with an operand size
#            prefix the instruction is two bytes too long, so that what follows is read from its middle. Bytes that are
#            sign-extended are written as if they were not: `and esp, -16` as `and esp, 0xF0`. A shift of mm0 is one of mm7.
# Expected:  segment and offset, of 6 bytes with the prefix (SDM vol. 2, JMP: EA cd, ptr16:16); imm8 sign-extended (AND: 83
#            /4 ib); the register of ModRM.rm (PSRLW: 0F 71 /2 ib).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install iced-x86==1.21.0
apt-get download -qq libdisasm0=0.23-6+b1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
cat > show.py <<'END'
from ctypes import CDLL, c_uint, c_uint32, create_string_buffer
from iced_x86 import Decoder, Formatter, FormatterSyntax

library = CDLL("root/usr/lib/x86_64-linux-gnu/libdisasm.so.0")
library.x86_init(0, None, None)
formatter = Formatter(FormatterSyntax.INTEL)
for code in ("ea112233445566", "66ea11223344", "9a112233445566", "669a11223344", "83c0c0", "83e4f0", "6bc0f0", "0f71d0ff"):
    data = bytes.fromhex(code)
    instruction, text = create_string_buffer(1 << 14), create_string_buffer(200)
    length = library.x86_disasm(create_string_buffer(data + bytes(9)), c_uint(len(data) + 9), c_uint32(0), c_uint(0), instruction)
    library.x86_format_insn(instruction, text, 200, 2)  # Intel's syntax
    right = Decoder(32, data).decode()
    print(f"{code}: libdisasm {length}: {' '.join(text.value.decode().split())}; iced {right.len}: {formatter.format(right)}")
END
venv/bin/python show.py > seen
cat > stated <<'END'
ea112233445566: libdisasm 7: jmp $0x2211:0x2211; iced 7: jmp far 44332211h,6655h
66ea11223344: libdisasm 8: jmp $0x2211:0x2211; iced 6: data16 jmp far 2211h,4433h
9a112233445566: libdisasm 7: callf $0x2211:0x2211; iced 7: call far 44332211h,6655h
669a11223344: libdisasm 8: callf $0x2211:0x2211; iced 6: data16 call far 2211h,4433h
83c0c0: libdisasm 3: add eax, 0xC0; iced 3: add eax,0FFFFFFC0h
83e4f0: libdisasm 3: and esp, 0xF0; iced 3: and esp,0FFFFFFF0h
6bc0f0: libdisasm 3: imul eax, eax, 0xF0; iced 3: imul eax,0FFFFFFF0h
0f71d0ff: libdisasm 4: psrlw mm7, 0xFF; iced 4: psrlw mm0,0FFh
END
diff -u stated seen
cat seen
echo 'as stated'
