#!/bin/sh
# Package:   ar 1.0.1, arpy 2.4.0 (PyPI); archives by GNU ar 2.40, llvm-ar 14.0.6 and bsdtar 3.6.2 (Debian 12)
# Behaviour: where a name of 37 bytes stands before content of 4 ("#1/37"), as bsdtar writes it, `ar` begins the next member
#            one byte early: its name and its content are shifted, without an error. arpy keeps the zeros that
#            llvm-ar puts behind a name as a part of it. GNU ar reads all three archives alike.
# Expected:  the name's length counts to the size of the member, which ends at an even offset, not the content alone; the
#            name without what fills it up (FreeBSD, ar(5), "BSD variant"; GNU ar and libarchive as readers).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install ar==1.0.1 arpy==2.4.0
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
name=name-longer-than-sixteen-characters.o
printf 'even' > $name
printf 'next' > next.o
ar rc gnu.a $name next.o
llvm-ar-14 --format=bsd rc llvm.a $name next.o
bsdtar --format=arbsd -cf bsdtar.a $name next.o
cat > show.py <<'END'
import sys
import ar, arpy

name = sys.argv[1]
with open(name, "rb") as file:
    archive = ar.Archive(file)
    print(f"{name}: ar:", [(each.name, archive.open(each, "rb").read()) for each in archive])
archive = arpy.Archive(name)
archive.read_all_headers()
print(f"{name}: arpy:", [(each, file.read()) for each, file in archive.archived_files.items()])
END
for archive in gnu.a llvm.a bsdtar.a; do
    venv/bin/python show.py $archive
    echo "$archive: GNU ar: $(ar t $archive | tr '\n' ' ')with $(ar p $archive next.o)"
done > seen
cat > stated <<'END'
gnu.a: ar: [('name-longer-than-sixteen-characters.o', b'even'), ('next.o', b'next')]
gnu.a: arpy: [(b'name-longer-than-sixteen-characters.o', b'even'), (b'next.o', b'next')]
gnu.a: GNU ar: name-longer-than-sixteen-characters.o next.o with next
llvm.a: ar: [('name-longer-than-sixteen-characters.o', b'even'), ('next.o', b'next')]
llvm.a: arpy: [(b'name-longer-than-sixteen-characters.o\x00\x00\x00\x00\x00\x00\x00', b'even'), (b'next.o\x00\x00', b'next')]
llvm.a: GNU ar: name-longer-than-sixteen-characters.o next.o with next
bsdtar.a: ar: [('name-longer-than-sixteen-characters.o', b'even'), ('\nnext.o', b'\nnex')]
bsdtar.a: arpy: [(b'name-longer-than-sixteen-characters.o', b'even'), (b'next.o', b'next')]
bsdtar.a: GNU ar: name-longer-than-sixteen-characters.o next.o with next
END
diff -u stated seen
cat seen
echo 'as stated'
