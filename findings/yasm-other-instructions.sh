#!/bin/sh
# Package:   yasm 1.3.0 (Debian 12), 64-bit
# Behaviour: without a word, with exit status 0: `retfq`, `sysretq` and `int1` are no instructions and
#            so labels, which make no code; `and rax, 0xfffffff8` keeps the upper half of rax, since
#            the number is sign-extended, and `add rax, 0x80000000` subtracts.
# Expected:  the instruction that was written, or an error or a warning, as from NASM.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 yasm=1.3.0-4 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
{
    for line in retfq sysretq int1 'and rax, 0xfffffff8' 'add rax, 0x80000000'; do
        printf 'bits 64\n%s\n' "$line" > source.asm
        yasm -f elf64 -o made.o source.asm 2> said
        code=$(objdump -d -Mintel made.o | sed -n 's/^ *0:\t//p' | tr -s ' \t' ' ')
        echo "$line: ${code:-no code}; $(wc -l < said) lines of warnings"
    done
} > seen
cat > stated <<'END'
retfq: no code; 0 lines of warnings
sysretq: no code; 0 lines of warnings
int1: no code; 0 lines of warnings
and rax, 0xfffffff8: 48 25 f8 ff ff ff and rax,0xfffffffffffffff8; 0 lines of warnings
add rax, 0x80000000: 48 05 00 00 00 80 add rax,0xffffffff80000000; 0 lines of warnings
END
diff -u stated seen
cat seen
echo 'as stated'
