#!/bin/sh
# Package:   capstone 5.0.9 (PyPI)
# Behaviour: `Cs.disasm` is a generator, but decodes the whole buffer before it gives the first
#            instruction: of 4,000,000 bytes that takes more than half a gigabyte. `count=1` does not.
# Expected:  the memory of one instruction: what a generator makes one think, and what "cs_disasm_iter"
#            of the same library does.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install capstone==5.0.9
"$work/venv/bin/python" - > "$work/seen" <<'END'
import os
import resource

import capstone

decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
code = b"\x90" * 4_000_000


def grown(count):
    """MiB that a process of its own grows by until it has the first instruction."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        next(decoder.disasm(code, 0, count))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(theirs, str((after - before) // 1024).encode())
        os._exit(0)
    os.wait()
    return int(os.read(ours, 20))


for count in (0, 1):
    used = grown(count)
    size = "under 50" if used < 50 else "over 500" if used > 500 else str(used)
    print(f"count={count}: {size} MiB for the first of {len(code)} instructions")
END
cat > "$work/stated" <<'END'
count=0: over 500 MiB for the first of 4000000 instructions
count=1: under 50 MiB for the first of 4000000 instructions
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
