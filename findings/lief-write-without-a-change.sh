#!/bin/sh
# Package:   lief 1.0.0 (PyPI), on a relocatable object made by GNU as 2.40 (Debian 12)
# Behaviour: parse and write, with nothing changed between them, give another file: names lie
#            elsewhere in the string tables. The same object in a gzip file is None, without an
#            exception.
# Expected:  the same bytes, or a word in the manual that says not to; an exception for what is
#            no format that it reads, as for other unreadable files.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install lief==1.0.0
as -o object.o - <<'END'
x: nop
   call b
.section .data.rel,"aw"
.quad a
END
gzip -kn object.o
venv/bin/python - > seen <<'END'
from pathlib import Path

import lief

lief.logging.disable()
module = lief.parse("object.o")
module.write("written.o")
written = lief.parse("written.o")
before, after = Path("object.o").read_bytes(), Path("written.o").read_bytes()
print("same size:", len(before) == len(after))
print("same bytes:", before == after)
names = [[symbol.name for symbol in each.symbols] for each in (module, written)]
print("same symbols:", names[0] == names[1])
print("gzip:", lief.parse("object.o.gz"))
END
cat > stated <<'END'
same size: True
same bytes: False
same symbols: True
gzip: None
END
diff -u stated seen
cat seen
echo 'as stated'
