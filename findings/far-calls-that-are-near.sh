#!/bin/sh
# Package:   binutils 2.40, llvm 14.0.6, nasm 2.16.01 (Debian 12), Intel syntax, 64-bit
# Behaviour: GNU as makes of `call far [rax]` a near call through [rax+0xff06], LLVM one through [rax+far],
#            far being a symbol that nobody defined. Both exit with 0 and say nothing. NASM makes a far
#            call, and adds REX.W, which no word asked for.
# Expected:  FF /3 (SDM vol. 2, CALL), or an error.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 nasm=2.16.01-1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
show() {
    code=$(objdump -dr -Mintel "$1" | sed -n 's/^ *0:\t//p; s/^\t*\( *[0-9a-f]*: R_X86_64_[^\t]*\)\t/\1 /p' | xargs)
    echo "$2: $code"
}
{
    printf '.intel_syntax noprefix\ncall far [rax]\n' > source.s
    as -o gnu.o source.s && show gnu.o 'GNU as'
    llvm-mc-14 -triple=x86_64 -filetype=obj -o llvm.o source.s && show llvm.o llvm-mc
    printf 'bits 64\ncall far [rax]\n' > source.asm
    nasm -f elf64 -o nasm.o source.asm && show nasm.o nasm
} > seen 2>&1
cat > stated <<'END'
GNU as: ff 90 06 ff 00 00 call QWORD PTR [rax+0xff06]
llvm-mc: ff 90 00 00 00 00 call QWORD PTR [rax+0x0] 2: R_X86_64_32S far
nasm: 48 ff 18 rex.W call FWORD PTR [rax]
END
diff -u stated seen
cat seen
echo 'as stated'
