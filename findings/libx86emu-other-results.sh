#!/bin/sh
# Package:   libx86emu3 3.5 (Debian 12), by ctypes; unicorn 2.1.4 (PyPI) for comparison, both in real mode
# Behaviour: the four cmov that compare SF with OF decide otherwise than the setcc of the same condition. A shift by cl uses
#            all of cl; `bt` with a bit beyond the word stays in the word; `sar` by one leaves OF as it was, `aam` ZF; `das`
#            is another number; `enter` and `loop` do not know their prefixes.
# Expected:  as Unicorn, by the SDM, vol. 2: CMOVcc (0F 4C to 4F), SHL and SHR (the count is masked to 5 bits), BT (a bit
#            string in memory), SAR, AAM, DAS, ENTER (operand size), LOOP (ECX with an address size of 32).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install unicorn==2.1.4
apt-get download -qq libx86emu3=3.5-1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
cat > show.py <<'END'
from ctypes import CDLL, POINTER, Structure, c_ubyte, c_uint, c_uint16, c_uint32
from unicorn import UC_ARCH_X86, UC_MODE_16, Uc, x86_const

NAMES = ("eax", "ebx", "ecx", "edx", "esp", "ebp", "esi", "edi", "eip", "eflags")
CODE, DATA = 0x1000, 0x2000


class Segment(Structure):
    _fields_ = [("base", c_uint32), ("limit", c_uint32), ("selector", c_uint16), ("access", c_uint16)]


class Emulator(Structure):  # the first fields of x86emu_t, in x86emu.h
    _fields_ = [(name, c_uint32) for name in NAMES] + [("xmm", c_ubyte * 128), ("segments", Segment * 6)]


library = CDLL("root/usr/lib/x86_64-linux-gnu/libx86emu.so.3")
library.x86emu_new.restype = POINTER(Emulator)


def in_libx86emu(code, given):
    made = library.x86emu_new(c_uint(7), c_uint(0))  # memory to read, write and execute; no ports
    emulator = made.contents
    for at, byte in [*enumerate(code + b"\xf4", CODE), *enumerate(bytes(range(32)), DATA)]:
        library.x86emu_write_byte(made, c_uint(at), c_ubyte(byte))
    for segment in emulator.segments:
        segment.base, segment.selector = 0, 0
    for name, value in {"eip": CODE, **given}.items():
        setattr(emulator, name, value)
    library.x86emu_run(made, c_uint(16))  # until hlt
    seen = {name: getattr(emulator, name) for name in NAMES}
    library.x86emu_done(made)
    return seen


def in_unicorn(code, given):
    machine = Uc(UC_ARCH_X86, UC_MODE_16)
    machine.mem_map(0, 0x10000)
    machine.mem_write(CODE, code)
    machine.mem_write(DATA, bytes(range(32)))
    number = lambda name: getattr(x86_const, "UC_X86_REG_" + name.upper())
    for name, value in given.items():
        machine.reg_write(number(name), value)
    machine.emu_start(CODE, CODE + len(code))
    return {name: machine.reg_read(number(name)) for name in NAMES}


BOTH, CF, ZF, OF = 0x882, 1, 0x40, 0x800  # BOTH: SF and OF
for text, code, given, name, mask in (
    ("cmovl eax, ebx with SF and OF", "660f4cc3", {"eax": 1, "ebx": 2, "eflags": BOTH}, "eax", ~0),
    ("setl al with SF and OF", "0f9cc0", {"eax": 9, "eflags": BOTH}, "eax", ~0),
    ("cmovge eax, ebx with SF and OF", "660f4dc3", {"eax": 1, "ebx": 2, "eflags": BOTH}, "eax", ~0),
    ("cmovle eax, ebx with SF and OF", "660f4ec3", {"eax": 1, "ebx": 2, "eflags": BOTH}, "eax", ~0),
    ("cmovg eax, ebx with SF and OF", "660f4fc3", {"eax": 1, "ebx": 2, "eflags": BOTH}, "eax", ~0),
    ("shl ax, cl by 33", "d3e0", {"eax": 1, "ecx": 33}, "eax", ~0),
    ("shr eax, cl by 33", "66d3e8", {"eax": 4, "ecx": 33}, "eax", ~0),
    ("bt [bx], ax: bit 17 of bytes 0, 1, 2: CF", "0fa307", {"eax": 17, "ebx": DATA, "eflags": 2}, "eflags", CF),
    ("sar ax, 1 with OF: OF", "d1f8", {"eax": 4, "eflags": OF | 2}, "eflags", OF),
    ("aam of 20: ZF", "d40a", {"eax": 20, "eflags": 2}, "eflags", ZF),
    ("das of 1 with AF", "2f", {"eax": 1, "eflags": 0x12}, "eax", ~0),
    ("enter 0, 0 with 66", "66c8000000", {"esp": 0x8000}, "esp", ~0),
    ("loop with 67", "67e200", {"ecx": 0x10000}, "ecx", ~0),
):
    seen = [each(bytes.fromhex(code), given)[name] & mask for each in (in_libx86emu, in_unicorn)]
    print(f"{text}: {name} libx86emu {seen[0]:#x}, unicorn {seen[1]:#x}")
END
venv/bin/python show.py > seen
cat > stated <<'END'
cmovl eax, ebx with SF and OF: eax libx86emu 0x2, unicorn 0x1
setl al with SF and OF: eax libx86emu 0x0, unicorn 0x0
cmovge eax, ebx with SF and OF: eax libx86emu 0x1, unicorn 0x2
cmovle eax, ebx with SF and OF: eax libx86emu 0x2, unicorn 0x1
cmovg eax, ebx with SF and OF: eax libx86emu 0x1, unicorn 0x2
shl ax, cl by 33: eax libx86emu 0x0, unicorn 0x2
shr eax, cl by 33: eax libx86emu 0x0, unicorn 0x2
bt [bx], ax: bit 17 of bytes 0, 1, 2: CF: eflags libx86emu 0x0, unicorn 0x1
sar ax, 1 with OF: OF: eflags libx86emu 0x800, unicorn 0x0
aam of 20: ZF: eflags libx86emu 0x0, unicorn 0x40
das of 1 with AF: eax libx86emu 0x9b, unicorn 0xfb
enter 0, 0 with 66: esp libx86emu 0x7ffe, unicorn 0x7ffc
loop with 67: ecx libx86emu 0x1ffff, unicorn 0xffff
END
diff -u stated seen
cat seen
echo 'as stated'
