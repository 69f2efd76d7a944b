#!/bin/sh
# Package:   fasm 1.73.30 (Debian 12)
# Behaviour: `rdpid rax` is six bytes that begin with an EVEX prefix (62), and no decoder knows them.
# Expected:  f3 0f c7 f8 (SDM vol. 2, RDPID: F3 0F C7 /7), four bytes without any VEX or EVEX form.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq fasm=1.73.30-1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
printf 'use64\nrdpid rax\n' > source.asm
fasm source.asm made.bin > log
{
    echo "fasm: $(od -An -tx1 made.bin | xargs)"
    printf '.intel_syntax noprefix\nrdpid rax\n' | as -o made.o -
    objcopy -O binary -j .text made.o made.bin
    echo "GNU as: $(od -An -tx1 made.bin | xargs)"
} > seen
cat > stated <<'END'
fasm: 62 91 7e 08 c7 fe
GNU as: f3 0f c7 f8
END
diff -u stated seen
cat seen
echo 'as stated'
