#!/bin/sh
# Package:   unicorn 2.1.4 (PyPI)
# Behaviour: a memory hook for a range of addresses is called for an access that begins in the range.
#            One that begins in front of it and reaches into it is not reported. And an access to two
#            pages is one call, with its first address.
# Expected:  every access that touches a byte of the range, as the words "begin" and "end" of
#            uc_hook_add (unicorn.h) let one think.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install unicorn==2.1.4
"$work/venv/bin/python" - > "$work/seen" <<'END'
from unicorn import UC_ARCH_X86, UC_HOOK_MEM_WRITE, UC_MODE_64, Uc

engine = Uc(UC_ARCH_X86, UC_MODE_64)
engine.mem_map(0x1000, 0x4000)
calls = {"the range": [], "no range": []}


def note(name):
    return lambda uc, kind, address, size, value, data: calls[name].append((hex(address), size))


engine.hook_add(UC_HOOK_MEM_WRITE, note("the range"), None, 0x2004, 0x200B)
engine.hook_add(UC_HOOK_MEM_WRITE, note("no range"))
code = b"".join(
    bytes.fromhex("48890425") + address.to_bytes(4, "little")  # mov [address], rax
    for address in (0x2000, 0x2008, 0x2FFC)
)
engine.mem_write(0x1000, code)
engine.emu_start(0x1000, 0x1000 + len(code))
for name, seen in calls.items():
    print(f"{name}:", *(f"{size} bytes at {address}" for address, size in seen), sep=" | ")
END
cat > "$work/stated" <<'END'
the range: | 8 bytes at 0x2008
no range: | 8 bytes at 0x2000 | 8 bytes at 0x2008 | 8 bytes at 0x2ffc
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
