#!/bin/sh
# Package:   lief 1.0.0 (PyPI), reading a relocatable object made by GNU as 2.40 (Debian 12)
# Behaviour: a note's description comes with its padding, its name with its NUL; the content of a
#            section without bytes in the file (NOBITS) is the bytes of what follows it in the file.
# Expected:  5 bytes of description as namesz and descsz say (gABI, "Note Section"), 4 letters of
#            name, and 16 zeros or nothing for .bss.
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
.section .note.demo,"",@note
.long 5, 5, 1
.asciz "demo"
.balign 4
.ascii "12345"
.balign 4
.bss
.skip 16
.section .rodata
.ascii "other bytes"
END
venv/bin/python - > seen <<'END'
import lief

binary = lief.parse("object.o")
for note in binary.notes:
    print("name", repr(note.name), "description", bytes(note.description))
for section in binary.sections:
    if section.name == ".bss":
        print(".bss:", len(section.content), "bytes,", sum(map(bool, section.content)), "not zero")
END
cat > stated <<'END'
name 'demo\x00' description b'12345\x00\x00\x00'
.bss: 16 bytes, 7 not zero
END
diff -u stated seen
cat seen
echo 'as stated'
