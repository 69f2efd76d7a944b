#!/bin/sh
# Package:   lief 1.0.0 (PyPI), reading a relocatable object made by GNU as
# Behaviour: a note's description comes with its padding, its name with its NUL; the content of a
#            section without bytes in the file (NOBITS) is the bytes of what follows it in the file.
# Expected:  5 bytes of description as namesz and descsz say (gABI, "Note Section"), 4 letters of
#            name, and 16 zeros or nothing for .bss.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
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
