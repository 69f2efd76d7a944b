#!/bin/sh
# Package:   pyvex 9.2.186 (PyPI), VEX IR of amd64
# Behaviour: what is moved to or from a control register is cut to 32 bits in 64-bit mode, in both
#            directions, though the guest state keeps 64: cr3 above 4 GiB and cr2 of a kernel lose
#            their upper halves. `swapgs` is an instruction without any effect.
# Expected:  64 bits: "in 64-bit mode, the operand size is always 64 bits" (SDM vol. 2, MOV to/from Control
#            Registers); the exchange of the GS base, or no decoding, as for `str`.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install pyvex==9.2.186 archinfo==9.2.186 bitstring==4.3.1
"$work/venv/bin/python" - > "$work/seen" <<'END'
import archinfo
import pyvex

for text, code in (("mov rax, cr3", "0f20d8"), ("mov cr2, rax", "0f22d0"), ("swapgs", "0f01f8"), ("str", "0f00c8")):
    block = pyvex.lift(bytes.fromhex(code) + b"\x90", 0x1000, archinfo.ArchAMD64(), max_inst=1)
    steps = [str(each) for each in block.statements if each.tag != "Ist_IMark"]
    print(f"{text}: {block.size} bytes, {block.jumpkind}:", "; ".join(steps) or "nothing")
END
cat > "$work/stated" <<'END'
mov rax, cr3: 3 bytes, Ijk_Boring: t2 = GET:I64(offset=792); t1 = 64to32(t2); t0 = 32Uto64(t1); PUT(offset=16) = t0
mov cr2, rax: 3 bytes, Ijk_Boring: t2 = GET:I64(offset=16); t1 = 64to32(t2); t0 = 32Uto64(t1); PUT(offset=784) = t0
swapgs: 3 bytes, Ijk_Boring: nothing
str: 0 bytes, Ijk_NoDecode: nothing
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
