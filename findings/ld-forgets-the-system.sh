#!/bin/sh
# Package:   binutils 2.40 and lld 14.0.6 (Debian 12), linking with -r
# Behaviour: ld.bfd makes an object for FreeBSD one for System V: EI_OSABI 9 becomes 0. gold and lld
#            keep it. Nothing else was given to the linker than that object.
# Expected:  9 from each: what says for which system an object is (gABI, "ELF Identification") is the
#            same for what is made of it alone.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 lld-14=1:14.0.6-12 libllvm14=1:14.0.6-12 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
printf '.globl f\nf: ret\n' | as -o object.o -
printf '\011' | dd of=object.o bs=1 seek=7 conv=notrunc status=none
for linker in ld.bfd ld.gold ld.lld-14; do
    "$linker" -r -o linked.o object.o
    echo "$linker: EI_OSABI $(od -An -tu1 -j7 -N1 linked.o | tr -d ' ')"
done > seen
cat > stated <<'END'
ld.bfd: EI_OSABI 0
ld.gold: EI_OSABI 9
ld.lld-14: EI_OSABI 9
END
diff -u stated seen
cat seen
echo 'as stated'
