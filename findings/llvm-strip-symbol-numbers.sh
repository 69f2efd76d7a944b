#!/bin/sh
# Package:   llvm 14.0.6 (Debian 12)
# Behaviour: llvm-strip -g renumbers the symbols and leaves .llvm_addrsig, a table of symbol numbers, as
#            it was: it now names other symbols, and some that are not there. LLVM's own reader warns.
# Expected:  the same three names, or no such section: "symbols are identified by their index" (LLVM's
#            Extensions.rst, SHT_LLVM_ADDRSIG).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
llvm-mc-14 -filetype=obj -triple=x86_64 -g -o object.o - <<'END'
.section .text.f,"ax",@progbits
.globl f
f:
        call    g
        ret
.section .text.h,"ax",@progbits
h:
        ret
.addrsig
.addrsig_sym f
.addrsig_sym g
.addrsig_sym h
END
for step in before after; do
    [ "$step" = before ] || llvm-strip-14 -g object.o
    echo "$step: $(llvm-readelf-14 --addrsig object.o 2>/dev/null | awk '/^ +[0-9]+:/ { print $2 }' | xargs)"
done > seen
cat > stated <<'END'
before: f g h
after: <?> <?> h
END
diff -u stated seen
cat seen
echo 'as stated'
