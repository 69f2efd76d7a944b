#!/bin/sh
# Package:   debugedit 5.0 (Debian 12)
# Behaviour: asked to rewrite a path in the debug information of a file that has none, it rewrites the
#            file nevertheless, with exit status 0: sections move, so checksums and recorded file
#            offsets no longer hold.
# Expected:  a file without debug information stays as it is, byte for byte.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq debugedit=1:5.0-5 libdw1=0.188-2.1 libelf1=0.188-2.1 libxxhash0=0.8.1-1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
as -o object.o - <<'END'
.globl f
f:
        call    g
        ret
.section .rodata
.byte 1
END
cp object.o edited.o
debugedit -b /before -d /after edited.o
{
    echo "exit status $?, debug sections $(readelf -SW object.o | grep -c debug_ || true)"
    cmp -s object.o edited.o && echo 'the same bytes' || echo 'other bytes'
} > seen
cat > stated <<'END'
exit status 0, debug sections 0
other bytes
END
diff -u stated seen
cat seen
echo 'as stated'
