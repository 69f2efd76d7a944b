#!/bin/sh
# Package:   llvm 14.0.6 (Debian 12): llvm-mc, Intel syntax, 64-bit; GNU as (binutils 2.40) beside it
# Behaviour: an absolute address of more than 32 bits is cut to its lower 32, without a word and with exit
#            status 0; the program then accesses something else.
# Expected:  the form that has room for it (MOV with a 64-bit offset, SDM vol. 2), as GNU as writes, or an
#            error.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
printf '.intel_syntax noprefix\nmov rax, [0x1122334455667788]\n' > source.s
{
    llvm-mc-14 -triple=x86_64 -filetype=obj -o llvm.o source.s
    echo "llvm-mc: exit status $?, $(objdump -wd -Mintel llvm.o | sed -n 's/^ *0:\t//p' | xargs)"
    as -o gnu.o source.s
    echo "GNU as: exit status $?, $(objdump -wd -Mintel gnu.o | sed -n 's/^ *0:\t//p' | xargs)"
} > seen 2>&1
cat > stated <<'END'
llvm-mc: exit status 0, 48 8b 04 25 88 77 66 55 mov rax,QWORD PTR ds:0x55667788
GNU as: exit status 0, 48 a1 88 77 66 55 44 33 22 11 movabs rax,ds:0x1122334455667788
END
diff -u stated seen
cat seen
echo 'as stated'
