#!/bin/sh
# Package:   binutils 2.40 (Debian 12): gold against ld.bfd, linking with -r
# Behaviour: gold gives an empty .note.GNU-stack the alignment 0, whatever the input had. It means the
#            same as 1 (gABI, sh_addralign), but loaders that round with it (as FreeBSD's kernel
#            linker did) do not know that.
# Expected:  the alignment of the input, 1, as ld.bfd writes it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
as -o object.o - <<'END'
ret
.section .note.GNU-stack,"",@progbits
END
for linker in ld.bfd ld.gold; do
    "$linker" -r -o linked.o object.o
    echo "$linker: $(readelf -SW linked.o | awk '/note.GNU-stack/ { print $NF }')"
done > seen
cat > stated <<'END'
ld.bfd: 1
ld.gold: 0
END
diff -u stated seen
cat seen
echo 'as stated'
