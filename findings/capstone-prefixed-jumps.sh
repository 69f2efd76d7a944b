#!/bin/sh
# Package:   capstone 5.0.9 (PyPI)
# Behaviour: with an operand size prefix, `jo` and `jno` are decoded with a 16-bit displacement
#            (5 bytes), the other fourteen conditions with a 32-bit one (7 bytes).
# Expected:  one length for all sixteen.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
import capstone

decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
sizes = {}
for condition in range(16):
    code = bytes([0x66, 0x0F, 0x80 + condition]) + bytes(8)
    one = next(decoder.disasm(code, 0))
    sizes.setdefault(one.size, []).append(one.mnemonic)
for size, names in sorted(sizes.items()):
    print(size, "bytes:", " ".join(names))
END
cat > "$work/stated" <<'END'
5 bytes: jo jno
7 bytes: jb jae je jne jbe ja js jns jp jnp jl jge jle jg
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
