#!/bin/sh
# Package:   llvm 14.0.6, 16.0.6 and 19.1.7 (Debian 12), llvm-mc, Intel syntax, 64-bit
# Behaviour: up to 16 `push fs` and `pop gs` are the 64-bit forms; 19 makes the 16-bit ones, which move rsp
#            by 2. In AT&T syntax the same words are the 64-bit forms in each.
# Expected:  64 bits, as everywhere before and in both syntaxes: 0F A0 without a prefix (SDM vol. 2, PUSH).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq llvm-14=1:14.0.6-12 libllvm14=1:14.0.6-12 llvm-16=1:16.0.6-15~deb12u1 libllvm16=1:16.0.6-15~deb12u1 llvm-19=1:19.1.7-3~deb12u1 libllvm19=1:19.1.7-3~deb12u1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
{
    for version in 14 16 19; do
        for syntax in 'intel_syntax noprefix|push fs|pop gs' 'att_syntax|push %fs|pop %gs'; do
            echo ".$syntax" | tr '|' '\n' > source.s
            "llvm-mc-$version" -triple=x86_64 -show-encoding source.s > made
            codes=$(sed -n 's/.*encoding: \[\(.*\)\]/\1/p' made | xargs)
            echo "$version, ${syntax%%[_]*}: $codes"
        done
    done
} > seen
cat > stated <<'END'
14, intel: 0x0f,0xa0 0x0f,0xa9
14, att: 0x0f,0xa0 0x0f,0xa9
16, intel: 0x0f,0xa0 0x0f,0xa9
16, att: 0x0f,0xa0 0x0f,0xa9
19, intel: 0x66,0x0f,0xa0 0x66,0x0f,0xa9
19, att: 0x0f,0xa0 0x0f,0xa9
END
diff -u stated seen
cat seen
echo 'as stated'
