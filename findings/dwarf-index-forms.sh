#!/bin/sh
# Package:   pyelftools 0.33 (PyPI); dwarfdump 20210528, llvm-14 14.0.6 and binutils 2.40 (Debian 12), on relocatable objects
#            made by GNU as 2.40
# Behaviour: of the forms strx1 to strx4 and addrx1 to addrx4, pyelftools takes eight bytes for strx4: the name is looked for
#            at an index that is not there, and what follows is read from four bytes further on. dwarfdump takes four for
#            strx3 and addrx3, so that the language behind them is another, without a word, and says of strx4 that it
#            "seems wrong". llvm-dwarfdump does not know addrx3, and so nothing of the unit. Each reads the other forms.
# Expected:  1, 2, 3 and 4 bytes (DWARF 5, 7.5.5, "address" and "string"), and the language behind them, as readelf reads it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install pyelftools==0.33
apt-get download -qq dwarfdump=20210528-1+b1 libdwarf1=20210528-1+b1 libelf1=0.188-2.1 llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$work/root/usr/lib/llvm-14/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
cat > source.s <<'END'
        .section .debug_info,"",@progbits
        .long   unit_end - unit
unit:   .short  5
        .byte   1, 8                    # a compile unit, addresses of 8 bytes
        .long   0
        .uleb128 1
        .long   8, 8                    # DW_AT_addr_base, DW_AT_str_offsets_base
        .byte   1                       # DW_AT_name or DW_AT_low_pc: the second of the table
.rept WIDTH - 1
        .byte   0
.endr
        .short  29                      # DW_AT_language: C11
        .skip   8                       # entries that end the unit, so that a wrong width is not the end of it
unit_end:
        .section .debug_abbrev,"",@progbits
        .byte   1, 0x11, 0              # DW_TAG_compile_unit
        .uleb128 0x73
        .byte   0x17, 0x72, 0x17, ATTRIBUTE, FORM + WIDTH, 0x13, 0x05, 0, 0
        .byte   0
        .section .debug_addr,"",@progbits
        .long   20
        .short  5
        .byte   8, 0
        .quad   0x1234, 0x5678
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
        *_, value, language = (each.value for each in unit.attributes.values())
        print(value.decode() if isinstance(value, bytes) else hex(value), language)
    except ELFError as error:
        print(f"{type(error).__name__}: {error}")
END
# The value and the language behind it, of what a tool prints: from the end of each of the two lines.
both() { sed -n 's/.*DW_AT_\(name\|low_pc\).*[ :()"]0*\(second\|0x0*5678\)[")]*$/\2/p; s/.*DW_AT_language[ :	(]*\(DW_LANG_\)*\(29\|C11\|<.*>\).*/\2/p; s/.*\(DW_FORM_strx[1-4] which seems wrong\).*/\1/p; s/.*\(invalid FORM_[*] 0x2b\).*/\1/p' | paste -sd ' ' | sed 's/0x0*5678/0x5678/'; }
for width in 1 2 3 4; do
    for form in 'strx 0x03 0x24' 'addrx 0x11 0x28'; do
        name=${form%% *}$width
        codes=${form#* }
        as --defsym WIDTH=$width --defsym ATTRIBUTE="${codes% *}" --defsym FORM="${codes#* }" -o "$name.o" source.s
        echo "$name: readelf: $(readelf --debug-dump=info "$name.o" | both)"
        echo "$name: pyelftools: $(venv/bin/python show.py "$name.o")"
        echo "$name: dwarfdump: $(dwarfdump -i "$name.o" | both)"
        echo "$name: llvm-dwarfdump: $(llvm-dwarfdump "$name.o" 2>&1 | both)"
    done
done > seen
cat > stated <<'END'
strx1: readelf: second 29
strx1: pyelftools: second 29
strx1: dwarfdump: second C11
strx1: llvm-dwarfdump: second C11
addrx1: readelf: 0x5678 29
addrx1: pyelftools: 0x5678 29
addrx1: dwarfdump: 0x5678 C11
addrx1: llvm-dwarfdump: 0x5678 C11
strx2: readelf: second 29
strx2: pyelftools: second 29
strx2: dwarfdump: second C11
strx2: llvm-dwarfdump: second C11
addrx2: readelf: 0x5678 29
addrx2: pyelftools: 0x5678 29
addrx2: dwarfdump: 0x5678 C11
addrx2: llvm-dwarfdump: 0x5678 C11
strx3: readelf: second 29
strx3: pyelftools: second 29
strx3: dwarfdump: second <Unknown LANG value 0x0>
strx3: llvm-dwarfdump: second C11
addrx3: readelf: 0x5678 29
addrx3: pyelftools: 0x5678 29
addrx3: dwarfdump: 0x5678 <Unknown LANG value 0x0>
addrx3: llvm-dwarfdump: invalid FORM_* 0x2b
strx4: readelf: second 29
strx4: pyelftools: ELFParseError: expected 4, found 0
strx4: dwarfdump: DW_FORM_strx4 which seems wrong C11
strx4: llvm-dwarfdump: second C11
addrx4: readelf: 0x5678 29
addrx4: pyelftools: 0x5678 29
addrx4: dwarfdump: 0x5678 C11
addrx4: llvm-dwarfdump: 0x5678 C11
END
diff -u stated seen
cat seen
echo 'as stated'
