#!/bin/sh
# Package:   llvm 14.0.6 (Debian 12): llvm-objcopy, on a relocatable object made by GNU as (binutils 2.40)
# Behaviour: a copy without any option has no longer GRP_COMDAT in its section group, because GNU as makes the symbol
#            that names the group a local one. Two such copies cannot be linked: "multiple definition", where
#            the two objects could.
# Expected:  a copy: the flag is part of the section's contents, and the group is known by its symbol's name (gABI,
#            "Section Groups"). GNU objcopy keeps it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
x86_64-linux-gnu-as -o object.o - <<'END'
.section .text.f,"axG",@progbits,name,comdat
.globl f
f:
        ret
END
for copy in cp x86_64-linux-gnu-objcopy llvm-objcopy-14; do
    "$copy" object.o first.o
    "$copy" object.o second.o
    group=$(x86_64-linux-gnu-readelf -gW first.o | sed -n 's/ section .*//p' | head -n 1)
    linked=fails
    if x86_64-linux-gnu-ld.bfd -r -o both.o first.o second.o 2>/dev/null; then linked=works; fi
    echo "${copy#x86_64-linux-gnu-}: '$group', linking two $linked"
done > seen
cat > stated <<'END'
cp: 'COMDAT group', linking two works
objcopy: 'COMDAT group', linking two works
llvm-objcopy-14: 'group', linking two fails
END
diff -u stated seen
cat seen
echo 'as stated'
