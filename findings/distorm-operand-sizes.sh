#!/bin/sh
# Package:   distorm3 3.5.2 (PyPI); iced-x86 1.21.0 for comparison
# Behaviour: the register of `str` has 16 bits whatever the operand size, though that of `sldt` follows it;
#            `iretq` and `retfq` have no name and no sign of theirs, and a `clflushopt` is an sfence
#            with a memory operand.
# Expected:  eax and rax, which are zero-extended (SDM vol. 2, STR); IRETQ, a RET of 64 bits, CLFLUSHOPT
#            (66 0F AE /7).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install distorm3==3.5.2 iced-x86==1.21.0
"$work/venv/bin/python" - > "$work/seen" <<'END'
import distorm3
from iced_x86 import Decoder, Formatter, FormatterSyntax

formatter = Formatter(FormatterSyntax.INTEL)
for code in ("0f00c8", "480f00c8", "0f00c0", "480f00c0", "48cf", "48cb", "660fae38"):
    data = bytes.fromhex(code)
    one = next(iter(distorm3.DecomposeGenerator(0, data, distorm3.Decode64Bits)))
    print(f"{code}: distorm3: {str(one).lower()}; iced: {formatter.format(Decoder(64, data).decode())}")
END
cat > "$work/stated" <<'END'
0f00c8: distorm3: str ax; iced: str eax
480f00c8: distorm3: str ax; iced: str rax
0f00c0: distorm3: sldt eax; iced: sldt eax
480f00c0: distorm3: sldt rax; iced: sldt rax
48cf: distorm3: iret; iced: iretq
48cb: distorm3: retf; iced: data64 ret far
660fae38: distorm3: sfence [rax]; iced: clflushopt [rax]
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
