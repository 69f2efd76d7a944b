#!/bin/sh
# Package:   mold 1.10.1 (Debian 12), linking with -r; ld.bfd 2.40 beside it
# Behaviour: sections of mergeable strings and constants (SHF_MERGE) keep their flag and get an element
#            size of 0.
# Expected:  1, 4 and 8, as in the input: of SHF_MERGE the gABI says that "the size of each element is
#            specified in the section header's sh_entsize field".
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq mold=1.10.1+dfsg-1 libmimalloc2.0=2.0.9+ds-2 libtbb12=2021.8.0-2+deb12u1 libxxhash0=0.8.1-1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
as -o object.o - <<'END'
.section .rodata.str1.1,"aMS",@progbits,1
.string "abc"
.section .rodata.str4.4,"aMS",@progbits,4
.long 65, 0
.section .rodata.cst8,"aM",@progbits,8
.quad 1
END
for linker in ld.bfd mold; do
    "$linker" -r -o linked.o object.o
    for name in str1.1 str4.4 cst8; do
        set -- $(readelf -SW linked.o | sed -n "s/.*\\.rodata\\.$name //p")
        echo "$linker: .rodata.$name: element size $5, flags $6"
    done
done > seen
cat > stated <<'END'
ld.bfd: .rodata.str1.1: element size 01, flags AMS
ld.bfd: .rodata.str4.4: element size 04, flags AMS
ld.bfd: .rodata.cst8: element size 08, flags AM
mold: .rodata.str1.1: element size 00, flags AMS
mold: .rodata.str4.4: element size 00, flags AMS
mold: .rodata.cst8: element size 00, flags AM
END
diff -u stated seen
cat seen
echo 'as stated'
