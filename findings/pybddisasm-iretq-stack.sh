#!/bin/sh
# Package:   pybddisasm 0.3.0 (PyPI)
# Behaviour: the memory that `iretq` reads on the stack is given as 24 bytes.
# Expected:  40: in 64-bit mode it pops RIP, CS, RFLAGS, RSP and SS, always (SDM vol. 2, IRET).
#            The far return beside it has its 16.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install pybddisasm==0.3.0
"$work/venv/bin/python" - > "$work/seen" <<'END'
import pybddisasm as b

for text in ("48cf", "48cb", "c3"):
    code = bytes.fromhex(text)
    one = b.nd_decode_ex(code, len(code), b.ND_CODE_64, b.ND_DATA_64)[1]
    sizes = {each.Size for each in b.nd_get_intrux_operands(one) if each.Type == b.ND_OP_MEM}
    print(f"{text}: {b.nd_to_text(one, 0)[1].strip()}: {max(sizes)}")
END
cat > "$work/stated" <<'END'
48cf: IRETQ: 24
48cb: RETF: 16
c3: RETN: 8
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
