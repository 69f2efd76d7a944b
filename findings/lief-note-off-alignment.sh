#!/bin/sh
# Package:   lief 1.0.0 (PyPI), on a relocatable object made by GNU as 2.40 (Debian 12); pyelftools 0.33 beside it
# Behaviour: where a section of notes has an alignment of 1, which GNU as gives by default, and so an odd place
#            in the file, the description is taken from up to three bytes further on: FreeBSD's tag for
#            version 700055 becomes another number, made of its last bytes and of the next section's.
# Expected:  700055: namesz says where the description begins in the note (gABI, "Note Section"), and the place of
#            the section says nothing of it. readelf, llvm-readobj and pyelftools read that.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install lief==1.0.0 pyelftools==0.33
for filling in 0 1 2 3; do
    {
        echo '.text'
        echo ".skip $filling, 0x90"
        echo '.section .note.tag,"a",@note'
        echo '.long 8, 4, 1'
        echo '.asciz "FreeBSD"'
        echo '.long 700055'
        echo '.section .rodata,"a"'
        echo '.byte 0xaa, 0xbb, 0xcc, 0xdd'
    } | LD_LIBRARY_PATH=root/usr/lib/x86_64-linux-gnu root/usr/bin/x86_64-linux-gnu-as -o "$filling.o" -
done
venv/bin/python - > seen <<'END'
import lief
from elftools.elf.elffile import ELFFile

for filling in range(4):
    with open(f"{filling}.o", "rb") as file:
        section = ELFFile(file).get_section_by_name(".note.tag")
        right = [int.from_bytes(each["n_descdata"], "little") for each in section.iter_notes()]
        place = section["sh_offset"]
    notes = lief.ELF.parse(f"{filling}.o").notes
    read = [int.from_bytes(bytes(each.description), "little") for each in notes]
    print(f"at {place:#x}: pyelftools {right}, lief {read}")
END
cat > stated <<'END'
at 0x40: pyelftools [700055], lief [700055]
at 0x41: pyelftools [700055], lief [3434850816]
at 0x42: pyelftools [700055], lief [3148480522]
at 0x43: pyelftools [700055], lief [2852129454]
END
diff -u stated seen
cat seen
echo 'as stated'
