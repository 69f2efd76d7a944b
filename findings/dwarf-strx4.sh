#!/bin/sh
# Package:   pyelftools 0.33 (PyPI), dwarfdump 20210528 (Debian 12), on a relocatable object made by GNU as 2.40 (Debian 12)
# Behaviour: DW_FORM_strx4 takes eight bytes in pyelftools: what follows it is read from four bytes further on, and the name
#            is looked for at an index that is not there, an exception about the end of a section that is whole. dwarfdump
#            says of the same form that it "seems wrong". Both read strx1, strx2 and strx3.
# Expected:  four bytes, and the name (DWARF 5, 7.5.5, "string": strx1, strx2, strx3 and strx4 are of 1, 2, 3 and 4 bytes),
#            as readelf reads them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install pyelftools==0.33
apt-get download -qq dwarfdump=20210528-1+b1 libdwarf1=20210528-1+b1 libelf1=0.188-2.1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
cat > source.s <<'END'
        .section .debug_info,"",@progbits
        .long   unit_end - unit
unit:   .short  5
        .byte   1, 8                    # a compile unit, addresses of 8 bytes
        .long   0
        .uleb128 1
        .long   8                       # DW_AT_str_offsets_base
        .byte   1                       # DW_AT_name: the second string
.rept WIDTH - 1
        .byte   0
.endr
        .short  12                      # DW_AT_language: C99
        .skip   8                       # entries that end the unit, so that a wrong width is not the end of it
unit_end:
        .section .debug_abbrev,"",@progbits
        .byte   1, 0x11, 0              # DW_TAG_compile_unit
        .byte   0x72, 0x17, 0x03, 0x24 + WIDTH, 0x13, 0x05, 0, 0
        .byte   0
        .section .debug_str_offsets,"",@progbits
        .long   12
        .short  5, 0
        .long   0, 6
        .section .debug_str,"MS",@progbits,1
        .asciz  "first"
        .asciz  "second"
END
cat > show.py <<'END'
import sys

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

with open(sys.argv[1], "rb") as file:
    try:
        unit = next(ELFFile(file).get_dwarf_info().iter_CUs()).get_top_DIE()
        name, language = (unit.attributes[each].value for each in ("DW_AT_name", "DW_AT_language"))
        print(f"{sys.argv[1]}: pyelftools: {name.decode()}, language {language}")
    except ELFError as error:
        print(f"{sys.argv[1]}: pyelftools: {type(error).__name__}: {error}")
END
for width in 1 2 3 4; do
    as --defsym WIDTH=$width -o "strx$width.o" source.s
    venv/bin/python show.py "strx$width.o"
    readelf --debug-dump=info "strx$width.o" > dump
    name=$(sed -n 's/.*DW_AT_name *: .*: //p' dump)
    echo "strx$width.o: readelf: $name, language $(sed -n 's/.*DW_AT_language *: *\([0-9]*\).*/\1/p' dump)"
    echo "strx$width.o: dwarfdump: $(dwarfdump -i "strx$width.o" | sed -n 's/.*DW_AT_name  *(indexed string: 0x00000001)//p; s/.*\(DW_FORM_strx[1-4] which seems wrong\).*/\1/p')"
done > seen
cat > stated <<'END'
strx1.o: pyelftools: second, language 12
strx1.o: readelf: second, language 12
strx1.o: dwarfdump: second
strx2.o: pyelftools: second, language 12
strx2.o: readelf: second, language 12
strx2.o: dwarfdump: second
strx3.o: pyelftools: second, language 12
strx3.o: readelf: second, language 12
strx3.o: dwarfdump: second
strx4.o: pyelftools: ELFParseError: expected 4, found 0
strx4.o: readelf: second, language 12
strx4.o: dwarfdump: DW_FORM_strx4 which seems wrong
END
diff -u stated seen
cat seen
echo 'as stated'
