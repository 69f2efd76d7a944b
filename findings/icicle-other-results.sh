#!/bin/sh
# Package:   icicle-emu 0.0.11 (PyPI), which runs x86-64 by Ghidra's SLEIGH specification
# Behaviour: `pop [rsp+8]` stores where rsp was before, `mov ax, ds` clears the other 48 bits, `cmpxchg8b`
#            that fails keeps the upper halves of rax and rdx, a nop with a REX prefix clears the upper
#            half of rax, `loop` with an address size prefix counts in rcx, and `inc` sets no AF.
# Expected:  SDM vol. 2, POP (the address is computed after rsp was raised), LOOP, INC; vol. 1, 3.4.1.1 (a
#            16-bit result leaves the other bits, a 32-bit one clears the upper half); NOP is no
#            exchange (vol. 2, NOP).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install icicle-emu==0.0.11
"$work/venv/bin/python" - > "$work/seen" <<'END'
import icicle

CODE, DATA = 0x1000, 0x8000
WIDE = 0x1122334455667788
for text, code, registers, asked in (
    ("pop [rsp+8]", "8f442408", {}, None),
    ("mov ax, ds", "668cd8", {"rax": WIDE}, "rax"),
    ("cmpxchg8b [rsi]", "0fc70e", {"rax": WIDE, "rdx": WIDE}, "rdx"),
    ("nop with REX", "4090", {"rax": WIDE}, "rax"),
    ("loop by ecx", "67e200", {"rcx": 0x100000001}, "rcx"),
    ("inc al", "fec0", {"rax": 0xF}, "AF"),
):
    machine = icicle.Icicle("x86_64", jit=False)
    machine.mem_map(CODE, 0x8000, icicle.MemoryProtection.ExecuteReadWrite)
    machine.mem_write(CODE, bytes.fromhex(code) + b"\x90" * 16)
    machine.mem_write(DATA, b"\x05" + bytes(63))
    for name, value in {"rsp": DATA, "rsi": DATA + 32, **registers}.items():
        machine.reg_write(name, value)
    machine.pc = CODE
    machine.run_until(CODE + len(code) // 2)
    if asked:
        print(f"{text}: {asked} {machine.reg_read(asked):#x}")
    else:
        print(f"{text}: stored at rsp+{bytes(machine.mem_read(DATA, 64)).rindex(5)}")
END
cat > "$work/stated" <<'END'
pop [rsp+8]: stored at rsp+8
mov ax, ds: rax 0x0
cmpxchg8b [rsi]: rdx 0x1122334400000000
nop with REX: rax 0x55667788
loop by ecx: rcx 0x100000000
inc al: AF 0x0
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
