#!/bin/sh
# Package:   elfy 1.0.0, elf-tools 1.1.2 (npm), on a relocatable object made by GNU as 2.40 (Debian 12); nodejs as
#            it is here
# Behaviour: elfy says of every file that it is for HP-UX, and of every section an alignment and an element size that
#            are 65536 times too large. Both give a section without bytes in the file (NOBITS) the bytes of
#            what follows it in the file.
# Expected:  EI_OSABI, the byte at 7, which is 0 or 9 (FreeBSD); sh_addralign and sh_entsize as readelf prints them;
#            no bytes for .bss (gABI, "ELF Identification", "Section Header", SHT_NOBITS).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
npm install --silent --no-audit --no-fund --prefix "$work" elfy@1.0.0 elf-tools@1.1.2 > npm.log
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
printf '.bss\n.balign 8\n.skip 16\n.data\n.balign 8\n.quad f\n.section .rodata\n.ascii "what follows .bss"\n' > source.s
as -o none.o source.s
cp none.o freebsd.o
printf '\11' | dd of=freebsd.o bs=1 seek=7 conv=notrunc 2> /dev/null
cat > show.js <<'END'
const fs = require("fs");
for (const name of ["none.o", "freebsd.o"]) {
    const data = fs.readFileSync(name);
    const file = require("elfy").parse(data);
    const section = (wanted) => file.body.sections.find((each) => each.name === wanted);
    console.log(`${name}: byte 7 is ${data[7]}; elfy: ${file.osabi}`);
    for (const wanted of [".data", ".rela.data"]) {
        console.log(`${wanted}: elfy: alignment ${section(wanted).addralign}, element ${section(wanted).entsize}`);
    }
    const tools = require("elf-tools").parse(data).sections.find((each) => each.header.name === ".bss");
    const text = (bytes) => JSON.stringify(Buffer.from(bytes).toString());
    console.log(`.bss: elfy ${text(section(".bss").data)}, elf-tools ${text(tools.data)}`);
}
END
{
    node show.js
    readelf -SW none.o | sed 's/^ *\[ *[0-9]*\] *//' | awk '$1 ~ /^(\.rela)?\.data$/ { print $1 ": readelf: alignment " $NF ", element " $6 }'
} > seen
cat > stated <<'END'
none.o: byte 7 is 0; elfy: hpux
.data: elfy: alignment 524288, element 0
.rela.data: elfy: alignment 524288, element 1572864
.bss: elfy "what follows .bs", elf-tools "what follows .bs"
freebsd.o: byte 7 is 9; elfy: hpux
.data: elfy: alignment 524288, element 0
.rela.data: elfy: alignment 524288, element 1572864
.bss: elfy "what follows .bs", elf-tools "what follows .bs"
.data: readelf: alignment 8, element 00
.rela.data: readelf: alignment 8, element 18
END
diff -u stated seen
cat seen
echo 'as stated'
