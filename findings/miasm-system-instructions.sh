#!/bin/sh
# Package:   miasm 0.1.5 (PyPI), x86-64; iced-x86 1.21.0 for comparison
# Behaviour: miasm reads `swapgs` as an invlpg, and cr8 (REX.R) as cr0, without an error.
# Expected:  swapgs (SDM vol. 2, SWAPGS: 0F 01 F8) and cr8 (SDM vol. 2, "MOV to/from Control Registers").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install miasm==0.1.5 iced-x86==1.21.0 setuptools==75.6.0
venv/bin/python -W ignore - > seen <<'END'
from iced_x86 import Decoder, Formatter, FormatterSyntax
from miasm.analysis.machine import Machine

formatter = Formatter(FormatterSyntax.INTEL)
miasm = Machine("x86_64").mn
for code in ("0f01f8", "440f20c0"):
    data = bytes.fromhex(code)
    words = str(miasm.dis(data, 64)).split()
    print(f"{code}: miasm: {' '.join(words).lower()}; iced: {formatter.format(Decoder(64, data).decode())}")
END
cat > stated <<'END'
0f01f8: miasm: invlpg eax; iced: swapgs
440f20c0: miasm: mov eax, cr0; iced: mov rax,cr8
END
diff -u stated seen
cat seen
echo 'as stated'
