#!/bin/sh
# Package:   lief 1.0.0, pelfy 1.0.10, pyelftools 0.33 (PyPI), on a relocatable object made by GNU as 2.40 (Debian 12)
# Behaviour: an object with a section for each of 65,306 functions has no section and no symbol for lief and pelfy, which
#            raise nothing (lief writes a line about .shstrtab); pyelftools and readelf read all of it.
# Expected:  the number of sections from sh_size of the first section header, where e_shnum is 0 (gABI, "ELF Header",
#            e_shnum: SHN_LORESERVE and more).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install lief==1.0.0 pelfy==1.0.10 pyelftools==0.33
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
cat > show.py <<'END'
import sys
import lief, pelfy
from elftools.elf.elffile import ELFFile

name = sys.argv[1]
read = lief.parse(name)
print(f"{name}: lief: {len(read.sections)} sections, {len(read.symbols)} symbols")
read = pelfy.open_elf_file(name)
print(f"{name}: pelfy: {len(read.sections)} sections, {len(read.symbols)} symbols")
with open(name, "rb") as file:
    read = ELFFile(file)
    print(f"{name}: pyelftools: {read.num_sections()} sections, {read.get_section_by_name('.symtab').num_symbols()} symbols")
END
for count in 6 65306; do
    seq "$count" | sed 's/.*/.section .text.f&,"ax",@progbits\n.globl f&\nf&: ret/' | as -o "$count.o" -
    venv/bin/python show.py "$count.o"
    sections=$(readelf -SW "$count.o" | sed -n 's/^There are \([0-9]*\) section headers.*/\1/p')
    symbols=$(readelf -sW "$count.o" | sed -n "s/^Symbol table '.symtab' contains \([0-9]*\) entries:/\1/p")
    echo "$count.o: readelf: $sections sections, $symbols symbols"
done > seen
cat > stated <<'END'
6.o: lief: 13 sections, 7 symbols
6.o: pelfy: 13 sections, 7 symbols
6.o: pyelftools: 13 sections, 7 symbols
6.o: readelf: 13 sections, 7 symbols
65306.o: lief: 0 sections, 0 symbols
65306.o: pelfy: 0 sections, 0 symbols
65306.o: pyelftools: 65314 sections, 65307 symbols
65306.o: readelf: 65314 sections, 65307 symbols
END
diff -u stated seen
cat seen
echo 'as stated'
