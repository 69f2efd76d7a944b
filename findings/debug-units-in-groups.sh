#!/bin/sh
# Package:   binutils 2.40, elfutils 0.188, pahole 1.24 (Debian 12), pyelftools 0.33 (PyPI), on a relocatable object made by
#            GNU as 2.40
# Behaviour: three sections .debug_info in one object, two of them in COMDAT groups, as GCC's -fdebug-types-section
#            writes them. readelf reads each. objdump reads the first three times, eu-readelf the last three times, under
#            the others' numbers, and pyelftools the last alone. pahole knows neither structure. None says a word, and all exit with 0.
# Expected:  each section's own unit (DWARF 5, E.2.2: one group, with a .debug_info of its own, for each type unit).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install pyelftools==0.33
apt-get download -qq pahole=1.24-4.1 libbpf1=1:1.1.2-0+deb12u1 elfutils=0.188-2.1 libasm1=0.188-2.1 libdw1=0.188-2.1 libelf1=0.188-2.1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
cat > source.s <<'END'
        .macro  type name
        .section .debug_info,"G",@progbits,wi.\name,comdat
        .long   9f - 8f
8:      .short  5
        .byte   2, 8                    # a type unit, addresses of 8 bytes
        .long   abbreviations
        .ascii  "\name\name"            # its signature
        .long   2f - 8b + 4
        .uleb128 1
2:      .uleb128 2
        .asciz  "\name"
        .byte   1
        .byte   0
9:
        .endm
        type    pcpu
        type    tss_
        .section .debug_info,"",@progbits
        .long   9f - 8f
8:      .short  5
        .byte   1, 8                    # a compile unit
        .long   abbreviations
        .uleb128 3
        .asciz  "module.c"
        .uleb128 4
        .asciz  "current"
        .ascii  "pcpupcpu"
        .byte   0
9:
        .section .debug_abbrev,"",@progbits
abbreviations:
        .byte   1, 0x41, 1, 0, 0                        # DW_TAG_type_unit
        .byte   2, 0x13, 0, 0x03, 0x08, 0x0b, 0x0b, 0, 0 # DW_TAG_structure_type: name, size
        .byte   3, 0x11, 1, 0x03, 0x08, 0, 0            # DW_TAG_compile_unit: name
        .byte   4, 0x34, 0, 0x03, 0x08, 0x49, 0x20, 0, 0 # DW_TAG_variable: name, type by signature
        .byte   0
END
as -o object.o source.s
cat > show.py <<'END'
from elftools.elf.elffile import ELFFile

with open("object.o", "rb") as file:
    for unit in ELFFile(file).get_dwarf_info().iter_CUs():
        print(*(die.attributes["DW_AT_name"].value.decode() for die in unit.iter_DIEs() if "DW_AT_name" in die.attributes))
END
{
    echo "sections: $(readelf -SW object.o | grep -c ' \.debug_info ')"
    echo "readelf: $(readelf --debug-dump=info object.o 2>&1 | sed -n 's/.*DW_AT_name *: //p' | tr '\n' ' ')"
    echo "objdump: $(objdump --dwarf=info object.o 2>&1 | sed -n 's/.*DW_AT_name *: //p' | tr '\n' ' ')"
    echo "eu-readelf: $(eu-readelf --debug-dump=info object.o 2>&1 | sed -n 's/^ *name *(string) "\(.*\)"/\1/p' | tr '\n' ' ')"
    echo "pyelftools: $(venv/bin/python show.py | tr '\n' ' ')"
    echo "pahole: $(pahole -F dwarf object.o 2>&1 | sed -n 's/^struct \([a-z_]*\) {/\1/p' | tr '\n' ' ')"
    sed '/section .debug_info,"G"/s/"G".*/"",@progbits/' source.s | as -o one-section.o -
    echo "pahole, all in one section: $(pahole -F dwarf one-section.o 2>&1 | sed -n 's/^struct \([a-z_]*\) {.*/\1/p' | tr '\n' ' ')"
} | sed 's/ *$//' > seen
cat > stated <<'END'
sections: 3
readelf: pcpu tss_ module.c current
objdump: pcpu pcpu pcpu
eu-readelf: module.c current module.c current module.c current
pyelftools: module.c current
pahole:
pahole, all in one section: pcpu tss_
END
diff -u stated seen
cat seen
echo 'as stated'
