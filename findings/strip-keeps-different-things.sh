#!/bin/sh
# Package:   binutils 2.40, llvm 14.0.6, elfutils 0.188 (Debian 12), on a relocatable object
# Behaviour: plain `strip` of each keeps something else: GNU's takes symbols *and relocations* away
#            and leaves a note that is not loaded; LLVM's takes the note too; elfutils' keeps all.
#            All three exit with 0, and what the first two leave can no longer be linked.
# Expected:  the same three, for the same word.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 elfutils=0.188-2.1 libdw1=0.188-2.1 libelf1=0.188-2.1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
as -o object.o - <<'END'
.globl f
f:
        call    g
        ret
.section .note.demo,"",@note
.long 5, 4, 1
.asciz "demo"
.balign 4
.ascii "1234"
END
for strip in strip llvm-strip-14 eu-strip; do
    cp object.o stripped.o
    "$strip" stripped.o
    symbols=$(nm stripped.o 2>/dev/null | wc -l)
    relocations=$(readelf -rW stripped.o | grep -c R_X86_64 || true)
    notes=$(readelf -SW stripped.o | grep -c note.demo || true)
    echo "$strip: $symbols symbols, $relocations relocations, $notes notes"
done > seen
cat > stated <<'END'
strip: 0 symbols, 0 relocations, 1 notes
llvm-strip-14: 0 symbols, 0 relocations, 0 notes
eu-strip: 2 symbols, 1 relocations, 1 notes
END
diff -u stated seen
cat seen
echo 'as stated'
