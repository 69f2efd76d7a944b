#!/bin/sh
# Package:   bmake 20200710 (Debian 12)
# Behaviour: `.ORDER: a b c` makes a come before b and b before c, but not a before c: where b is not
#            made, a and c start together. Without -j it orders nothing at all.
# Expected:  the order that the line says.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq bmake=20200710-15+b1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
cat > Makefile <<'END'
.ORDER: a b c
all: c b a
a:
	@sleep 1; echo a >> order
b:
	@echo b >> order
c:
	@echo c >> order
END
mk=$work/root/usr/share/mk
run() {
    rm -f order
    "$work/root/usr/bin/bmake" -m "$mk" "$@" > log 2>&1
    echo "bmake $*: $(tr '\n' ' ' < order | sed 's/ $//')"
}
{ run all; run -j4 all; run -j4 a c; } > seen
cat > stated <<'END'
bmake all: c b a
bmake -j4 all: a b c
bmake -j4 a c: c a
END
diff -u stated seen
cat seen
echo 'as stated'
