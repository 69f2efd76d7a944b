#!/bin/sh
# Package:   mold 1.10.1 (Debian 12), linking with -r; ld.bfd 2.40 beside it
# Behaviour: of an object with more than 65279 sections mold writes their number as it is into the header's 16 bits,
#            where it is in the reserved range, and 0 into the first section header.
# Expected:  0 in the header and the number as the size of section 0, from SHN_LORESERVE (0xff00) on (gABI, "ELF
#            Header", e_shnum), as ld.bfd writes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 mold=1.10.1+dfsg-1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
awk 'BEGIN { for (i = 0; i < 65400; i++) printf ".section .s%d,\"a\"\n.byte 1\n", i }' > many.s
x86_64-linux-gnu-as -o many.o many.s
for linker in x86_64-linux-gnu-ld.bfd mold; do
    "$linker" -m elf_x86_64 -r -o joined.o many.o
    header=$(od -An -t u2 -j 60 -N 2 joined.o | tr -d ' ')
    table=$(od -An -t u8 -j 40 -N 8 joined.o | tr -d ' ')
    size=$(od -An -t u8 -j "$((table + 32))" -N 8 joined.o | tr -d ' ')
    echo "${linker#x86_64-linux-gnu-}: e_shnum $header, size of section 0 $size"
done > seen
cat > stated <<'END'
ld.bfd: e_shnum 0, size of section 0 65408
mold: e_shnum 65407, size of section 0 0
END
diff -u stated seen
cat seen
echo 'as stated'
