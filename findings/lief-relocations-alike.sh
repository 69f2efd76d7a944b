#!/bin/sh
# Package:   lief 1.0.0 (PyPI); the object by GNU as 2.40 (Debian 12)
# Behaviour: two relocations that are alike in place, type, symbol and addend are given as one, so their
#            number is not that of the table.
# Expected:  two, as the section's size says and readelf prints (gABI, "Relocation").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install lief==1.0.0
as -o object.o - <<'END'
.data
.reloc 0, R_X86_64_NONE, g
.reloc 0, R_X86_64_NONE, g
.quad 0
END
venv/bin/python - > seen <<'END'
import lief

file = lief.ELF.parse("object.o")
print(file.get_section(".rela.data").size // 24, "in the table")
print(len(list(file.object_relocations)), "by LIEF")
END
echo "$(readelf -rW object.o | grep -c R_X86_64_NONE) by readelf" >> seen
cat > stated <<'END'
2 in the table
1 by LIEF
2 by readelf
END
diff -u stated seen
cat seen
echo 'as stated'
