#!/bin/sh
# Package:   zstd 1.5.4 (pzstd), tar 1.34, libarchive-tools 3.6.2 (Debian 12)
# Behaviour: pzstd puts a skippable frame in front of its frames. GNU tar looks at the first bytes and
#            knows no such format, so it refuses the archive under a name that does not end in
#            .zst; bsdtar reads it. What zstd makes, both read.
# Expected:  a skippable frame may stand anywhere (RFC 8878, 3.1.2), so both read both.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq zstd=1.5.4+dfsg2-5 tar=1.34+dfsg-1.2+deb12u1 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
mkdir folder && echo text > folder/file && tar cf archive.tar folder
zstd -q archive.tar -o zstd.pkg
pzstd -q archive.tar -o pzstd.pkg
for file in zstd.pkg pzstd.pkg; do
    for reader in tar bsdtar; do
        if "$reader" tf "$file" > list 2>/dev/null; then
            echo "$reader $file: $(wc -l < list) members"
        else
            echo "$reader $file: refused"
        fi
    done
done > seen
cat > stated <<'END'
tar zstd.pkg: 2 members
bsdtar zstd.pkg: 2 members
tar pzstd.pkg: refused
bsdtar pzstd.pkg: 2 members
END
diff -u stated seen
cat seen
echo 'as stated'
