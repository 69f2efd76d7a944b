#!/bin/sh
# Package:   binutils 2.40, llvm 14.0.6, nasm 2.16.01, yasm 1.3.0, fasm 1.73.30 (Debian 12), keystone-engine
#            0.9.2 (PyPI), Intel syntax, 64-bit
# Behaviour: `iret` is the 16-bit form for LLVM and Keystone, the 32-bit one for GNU as, NASM and YASM, and
#            the 64-bit one for fasm; `retf` has 64 bits for YASM and fasm only, `sysret` and `pushf`
#            another size for Keystone than for all others. Each form pops another number of bytes.
#            GNU as alone warns, of the first two, and refuses the third.
# Expected:  one form for one word, or a warning from each.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 nasm=2.16.01-1 yasm=1.3.0-4 fasm=1.73.30-1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install keystone-engine==0.9.2
text() { objcopy -O binary -j .text "$1" code && od -An -tx1 code | tr -d ' '; }
{
    for word in iret retf sysret pushf; do
        printf '.intel_syntax noprefix\n%s\n' "$word" > source.s
        printf 'bits 64\n%s\n' "$word" > source.asm
        printf 'use64\n%s\n' "$word" > source.fasm
        gnu=error
        as -o gnu.o source.s 2> warning && gnu=$(text gnu.o)
        llvm-mc-14 -triple=x86_64 -filetype=obj -o llvm.o source.s
        nasm -f elf64 -o nasm.o source.asm
        yasm -f elf64 -o yasm.o source.asm
        fasm source.fasm fasm.bin > log
        keystone=$(venv/bin/python -c '
import sys
from keystone import KS_ARCH_X86, KS_MODE_64, Ks
print(bytes(Ks(KS_ARCH_X86, KS_MODE_64).asm(sys.argv[1])[0]).hex())' "$word")
        echo "$word: as $gnu, llvm-mc $(text llvm.o), nasm $(text nasm.o), yasm $(text yasm.o)," \
            "fasm $(od -An -tx1 fasm.bin | tr -d ' '), keystone $keystone"
    done
} > seen
cat > stated <<'END'
iret: as cf, llvm-mc 66cf, nasm cf, yasm cf, fasm 48cf, keystone 66cf
retf: as cb, llvm-mc cb, nasm cb, yasm 48cb, fasm 48cb, keystone cb
sysret: as error, llvm-mc 0f07, nasm 0f07, yasm 0f07, fasm 0f07, keystone 480f07
pushf: as 9c, llvm-mc 9c, nasm 9c, yasm 9c, fasm 9c, keystone 669c
END
diff -u stated seen
cat seen
echo 'as stated'
