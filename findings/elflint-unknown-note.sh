#!/bin/sh
# Package:   elfutils 0.188 (Debian 12)
# Behaviour: eu-elflint --gnu fails on a relocatable object with any note whose owner and type it does
#            not know, FreeBSD's own ABI tag included.
# Expected:  owners and types of notes are open (gABI, "Note Section"), so at most a remark.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq elfutils=0.188-2.1 libdw1=0.188-2.1 libelf1=0.188-2.1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
as -o object.o - <<'END'
ret
.section .note.tag,"a",@note
.long 8, 4, 1
.asciz "FreeBSD"
.long 700055
END
status=0
eu-elflint --gnu object.o > seen || status=$?
echo "exit status $status" >> seen
cat > stated <<'END'
section [ 4] '.note.tag': unknown object file note type 1 with owner name 'FreeBSD' at offset 24
exit status 1
END
diff -u stated seen
cat seen
echo 'as stated'
