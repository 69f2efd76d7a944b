#!/bin/sh
# Package:   cle 9.2.186 (PyPI), angr's loader, on a relocatable object made by GNU as 2.40 (Debian 12)
# Behaviour: all common symbols of an object are placed at the base address plus their alignment, so two variables
#            of 64 bytes share one address, which is in .data too; an absolute symbol moves with the base.
#            What is relocated against them holds these addresses.
# Expected:  places of their own: of a common symbol st_value is the alignment, not an offset; an absolute symbol
#            "will not change because of relocation" (gABI, "Special Section Indexes").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install cle==9.2.186 archinfo==9.2.186 pyvex==9.2.186 bitstring==4.3.1
LD_LIBRARY_PATH=root/usr/lib/x86_64-linux-gnu root/usr/bin/x86_64-linux-gnu-as -o object.o - <<'END'
.comm one, 64, 32
.comm two, 64, 32
.globl fixed
fixed = 0x1234
.data
words:
        .quad one
        .quad two
        .skip 48
END
venv/bin/python - > seen <<'END'
import logging

import cle

logging.disable(logging.CRITICAL)
loaded = cle.Loader("object.o", auto_load_libs=False, main_opts={"base_addr": 0x400000}).main_object
for name in ("one", "two", "fixed"):
    symbol = loaded.get_symbol(name)
    print(f"{name}: at {symbol.rebased_addr:#x}, {symbol.size} bytes")
for section in loaded.sections:
    if section.name == ".data":
        print(f"{section.name}: at {section.vaddr:#x}, {section.memsize} bytes")
print("words:", [hex(loaded.memory.unpack_word(offset)) for offset in (0, 8)])
END
cat > stated <<'END'
one: at 0x400020, 64 bytes
two: at 0x400020, 64 bytes
fixed: at 0x401234, 0 bytes
.data: at 0x400000, 64 bytes
words: ['0x400020', '0x400020']
END
diff -u stated seen
cat seen
echo 'as stated'
