#!/bin/sh
# Package:   intelhex 2.3.0, bincopy 20.1.1, hexrec 0.5.1 (PyPI), binutils 2.40 and srecord 1.64 (Debian 12)
# Behaviour: a record of four bytes at offset 0xfffe of a segment continues in the next 64 kB for intelhex, bincopy,
#            hexrec and objcopy. srec_cat puts the last two bytes at the start of the same segment.
# Expected:  what srec_cat does: behind a record of type 02 a byte's address is the segment's base plus the offset
#            modulo 64 K; only behind type 04 it is carried over (Intel, Hexadecimal Object File Format
#            Specification, revision A, 1988, "Extended Segment Address Record").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install intelhex==2.3.0 bincopy==20.1.1 hexrec==0.5.1
apt-get download -qq srecord=1.64-3 libsrecord0=1.64-3 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib
export PATH LD_LIBRARY_PATH
cat > show.py <<'END'
import bincopy, hexrec, intelhex, subprocess

def record(kind, offset, data):
    line = bytes([len(data), offset >> 8, offset & 255, kind]) + data
    return ":" + (line + bytes([-sum(line) & 255])).hex().upper() + "\n"

for kind, base in ((2, b"\x10\x00"), (4, b"\x00\x01")):
    with open("file.hex", "w") as file:
        file.write(record(kind, 0, base) + record(0, 0xFFFE, b"ABCD") + record(1, 0, b""))
    print(f"record of type {kind:02}")
    read = intelhex.IntelHex("file.hex")
    show = {"intelhex": {at: read[at] for at in read.addresses()}}
    show["bincopy"] = {each.address + at: byte for each in bincopy.BinFile("file.hex").segments for at, byte in enumerate(each.data)}
    show["hexrec"] = {start + at: byte for start, data in hexrec.IhexFile.load("file.hex").memory.to_blocks() for at, byte in enumerate(data)}
    for tool, command in (
        ("objcopy", ["objcopy", "-I", "ihex", "-O", "srec", "file.hex", "file.srec"]),
        ("srec_cat", ["srec_cat", "file.hex", "-intel", "-o", "file.srec", "-motorola", "-address-length=4"]),
    ):
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        show[tool] = {}
        for line in open("file.srec"):
            if line[1] in "123":  # data with an address of 2, 3 or 4 bytes
                data = bytes.fromhex(line[4:].strip())
                size = int(line[1]) + 1
                for at, byte in enumerate(data[size:-1]):
                    show[tool][int.from_bytes(data[:size], "big") + at] = byte
    for tool, found in show.items():
        print(f"{tool}:", ", ".join(f"{chr(byte)} at {at:#x}" for at, byte in sorted(found.items())))
END
venv/bin/python show.py > seen
cat > stated <<'END'
record of type 02
intelhex: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
bincopy: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
hexrec: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
objcopy: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
srec_cat: C at 0x10000, D at 0x10001, A at 0x1fffe, B at 0x1ffff
record of type 04
intelhex: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
bincopy: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
hexrec: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
objcopy: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
srec_cat: A at 0x1fffe, B at 0x1ffff, C at 0x20000, D at 0x20001
END
diff -u stated seen
cat seen
echo 'as stated'
