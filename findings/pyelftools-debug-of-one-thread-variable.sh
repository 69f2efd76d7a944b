#!/bin/sh
# Package:   pyelftools 0.33 (PyPI), on relocatable objects made by GNU as 2.40 (Debian 12)
# Behaviour: one thread-local variable in the debug information of an object, and get_dwarf_info raises "Unsupported
#            relocation type", so nothing of any unit can be read. 21 is what GCC writes (R_X86_64_DTPOFF32), 17 what
#            Clang writes (R_X86_64_DTPOFF64). Unrelocated, it is read whole.
# Expected:  the units as readelf prints them, with a warning about that one place. Both types are in the psABI (x86-64,
#            4.4.1 "Relocation Types"); an offset in a block that nobody has laid out is needed by no reader of names.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install pyelftools==0.33
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
cat > source.s <<'END'
        .section .debug_info,"",@progbits
        .long   unit_end - unit
unit:   .short  5
        .byte   1, 8                    # a compile unit, addresses of 8 bytes
        .long   abbreviations
        .uleb128 1
        .asciz  "unit.c"
        .uleb128 2
        .asciz  "counter"
        .uleb128 location_end - location
location:
.if WIDE
        .byte   0x0e                    # DW_OP_const8u
        .quad   counter@dtpoff
.else
        .byte   0x0c                    # DW_OP_const4u
        .long   counter@dtpoff
.endif
        .byte   0xe0                    # DW_OP_GNU_push_tls_address
location_end:
        .byte   0
unit_end:
        .section .debug_abbrev,"",@progbits
abbreviations:
        .byte   1, 0x11, 1, 0x03, 0x08, 0, 0
        .byte   2, 0x34, 0, 0x03, 0x08, 0x02, 0x18, 0, 0
        .byte   0
        .section .tdata,"awT",@progbits
counter:
        .long   3
END
cat > show.py <<'END'
import sys

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

for relocate in (True, False):
    with open(sys.argv[1], "rb") as file:
        try:
            read = ELFFile(file).get_dwarf_info(relocate_dwarf_sections=relocate)
            names = [die.attributes["DW_AT_name"].value.decode() for unit in read.iter_CUs() for die in unit.iter_DIEs() if die.tag]
        except ELFError as error:
            names = [type(error).__name__, str(error)]
    print(f"{sys.argv[1]}: pyelftools, relocate {relocate}: {', '.join(names)}")
END
for wide in 0 1; do
    as --defsym WIDE=$wide -o "wide-$wide.o" source.s
    venv/bin/python show.py "wide-$wide.o"
    names=$(readelf --debug-dump=info "wide-$wide.o" 2> warnings | sed -n 's/.*DW_AT_name *: //p' | paste -sd,)
    relocation=$(readelf -rW "wide-$wide.o" | grep -o 'R_X86_64_DTPOFF[0-9]*')
    echo "wide-$wide.o: readelf: $relocation, ${names%%,*}, ${names#*,}"
done > seen
cat > stated <<'END'
wide-0.o: pyelftools, relocate True: ELFRelocationError, Unsupported relocation type: 21
wide-0.o: pyelftools, relocate False: unit.c, counter
wide-0.o: readelf: R_X86_64_DTPOFF32, unit.c, counter
wide-1.o: pyelftools, relocate True: ELFRelocationError, Unsupported relocation type: 17
wide-1.o: pyelftools, relocate False: unit.c, counter
wide-1.o: readelf: R_X86_64_DTPOFF64, unit.c, counter
END
diff -u stated seen
cat seen
echo 'as stated'
