#!/bin/sh
# Package:   tcc 0.9.27+git20200814 (Debian 12) as an assembler, read with objdump 2.40
# Behaviour: `mov $0x80000000, %rax` loads 0xffffffff80000000, and `mov $0xffffffff, %rax` loads -1: the constant is cut
#            to 32 bits and extended with its sign. `xchg %eax, %eax` becomes `nop`, which keeps the upper half of rax.
#            None is an error or a warning. GNU as takes ten bytes, and two.
# Expected:  the constant of the source, or a refusal; 87 c0 for the exchange (SDM vol. 2, MOV: imm32 is sign-extended;
#            NOP: 90 changes no register; vol. 1, 3.4.1.1: a 32-bit result clears the upper half).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq tcc=0.9.27+git20200814.62c30a4a-1 binutils=2.40-2 binutils-x86-64-linux-gnu=2.40-2 libbinutils=2.40-2 libctf0=2.40-2 libctf-nobfd0=2.40-2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
shown() {
    objdump -d --insn-width=16 "$1" | awk -F '\t' 'NF > 2 { gsub(/ +/, " "); print $2 "=" $3 }' | sed 's/ =/: /; s/ *$//'
}
for source in 'mov $0x80000000, %rax' 'mov $0xffffffff, %rax' 'mov $0x7fffffff, %rax' 'xchg %eax, %eax'; do
    echo "$source" > source.s
    tcc -c -o tcc.o source.s 2>&1
    as -o as.o source.s 2>&1
    echo "$source"
    echo "  tcc $(shown tcc.o)"
    echo "  as  $(shown as.o)"
done > seen
cat > stated <<'END'
mov $0x80000000, %rax
  tcc 48 c7 c0 00 00 00 80: mov $0xffffffff80000000,%rax
  as  48 b8 00 00 00 80 00 00 00 00: movabs $0x80000000,%rax
mov $0xffffffff, %rax
  tcc 48 c7 c0 ff ff ff ff: mov $0xffffffffffffffff,%rax
  as  48 b8 ff ff ff ff 00 00 00 00: movabs $0xffffffff,%rax
mov $0x7fffffff, %rax
  tcc 48 c7 c0 ff ff ff 7f: mov $0x7fffffff,%rax
  as  48 c7 c0 ff ff ff 7f: mov $0x7fffffff,%rax
xchg %eax, %eax
  tcc 90: nop
  as  87 c0: xchg %eax,%eax
END
diff -u stated seen
cat seen
echo 'as stated'
