#!/bin/sh
# Package:   capstone 5.0.9 (PyPI)
# Behaviour: `and` with one and the same sign-extended byte has the immediate -8 as a 64-bit
#            instruction, but 4294967288 and 65528 as a 32-bit and a 16-bit one; and the package
#            says of itself that it is 5.0.7.
# Expected:  one way for all operand sizes, as the SDM has one (imm8, sign-extended to the size);
#            and the version that was installed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
from importlib.metadata import version

import capstone

decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
decoder.detail = True
for code in ("6683e1f8", "83e1f8", "4883e1f8"):
    one = next(decoder.disasm(bytes.fromhex(code), 0))
    print(f"{code}: {one.mnemonic} {one.op_str}: {one.operands[1].imm}")
print(f"installed {version('capstone')}, says {capstone.__version__}")
END
cat > "$work/stated" <<'END'
6683e1f8: and cx, 0xfff8: 65528
83e1f8: and ecx, 0xfffffff8: 4294967288
4883e1f8: and rcx, 0xfffffffffffffff8: -8
installed 5.0.9, says 5.0.7
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
