#!/bin/sh
# Package:   mold 1.10.1 (Debian 12), linking with -r; ld.bfd and gold 2.40 beside it
# Behaviour: common symbols come out as absolute ones whose address is what was their alignment. Two variables of
#            64 bytes are both at address 32 in the program that is linked from it, without a warning.
# Expected:  SHN_COMMON as before, or a place in .bss: of a common symbol st_value is the alignment, and of an
#            absolute one a value that relocation does not change (gABI, "Special Section Indexes").
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
x86_64-linux-gnu-as -o object.o - <<'END'
.comm one, 64, 32
.comm two, 64, 32
.globl _start
_start:
        mov     one(%rip), %eax
        mov     two(%rip), %eax
        ret
END
for linker in x86_64-linux-gnu-ld.bfd x86_64-linux-gnu-ld.gold mold; do
    "$linker" -m elf_x86_64 -r -o joined.o object.o
    kinds=$(x86_64-linux-gnu-readelf -sW joined.o | awk '/ (one|two)$/ { print $7 }' | tr '\n' ' ')
    x86_64-linux-gnu-ld.bfd -o program joined.o
    x86_64-linux-gnu-nm program | awk '/ (one|two)$/ { print $1, $2 }' | sort > places
    different=$(sort -u places | wc -l)
    echo "${linker#x86_64-linux-gnu-}: ${kinds}after -r, then $different places, the first $(head -n 1 places)"
done > seen
cat > stated <<'END'
ld.bfd: COM COM after -r, then 2 places, the first 0000000000402000 B
ld.gold: COM COM after -r, then 2 places, the first 0000000000402000 B
mold: ABS ABS after -r, then 1 places, the first 0000000000000020 A
END
diff -u stated seen
cat seen
echo 'as stated'
