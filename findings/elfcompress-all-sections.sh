#!/bin/sh
# Package:   elfutils 0.188 (Debian 12): eu-elfcompress; binutils 2.40 as the reader
# Behaviour: with the pattern '*' eu-elfcompress packs the symbols, their names and the names of sections too.
#            The flag SHF_COMPRESSED is set, and eu-readelf understands it; readelf reads the packed bytes
#            as names, nm finds no symbol, and ld refuses the file.
# Expected:  tables that a reader needs stay as they are, as allocated sections do ("ignoring"), or a reader
#            minds the flag that the gABI allows on any section that is not allocated.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq elfutils=0.188-2.1 libdw1=0.188-2.1 libelf1=0.188-2.1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
printf '.globl f\nf: ret\n.section .rodata.texts\n.ascii "some text"\n' | as -o object.o -
cp object.o packed.o
eu-elfcompress -q -f -t zlib -n '*' packed.o
for file in object.o packed.o; do
    elfutils=$(eu-readelf -S "$file" | grep -c ' \.rodata\.texts ' || true)
    binutils=$(readelf -SW "$file" 2>/dev/null | grep -ac ' \.rodata\.texts ' || true)
    symbols=$(nm "$file" 2>/dev/null | grep -c ' T f' || true)
    ld -r -o linked.o "$file" 2>/dev/null && ld=links || ld=refuses
    echo "$file: .rodata.texts by eu-readelf $elfutils, by readelf $binutils; f by nm $symbols; ld $ld"
done > seen
eu-elfcompress -q -f -t none -n '*' packed.o
readelf -SW packed.o | grep -c ' \.rodata\.texts ' >> seen
cat > stated <<'END'
object.o: .rodata.texts by eu-readelf 1, by readelf 1; f by nm 1; ld links
packed.o: .rodata.texts by eu-readelf 1, by readelf 0; f by nm 0; ld refuses
1
END
diff -u stated seen
cat seen
echo 'as stated'
