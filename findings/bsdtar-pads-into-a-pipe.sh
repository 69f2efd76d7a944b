#!/bin/sh
# Package:   libarchive-tools 3.6.2 (bsdtar), zstd 1.5.4, GNU tar 1.34 (Debian 12)
# Behaviour: to a pipe, bsdtar fills what it compressed up with zeros, to a multiple of 10240 bytes. zstd
#            fails on that, GNU tar too, and bsdtar itself ("Unknown frame descriptor"). To a file the
#            same command writes no zeros.
# Expected:  a zstd file from "bsdtar --zstd -cf -": frames, and nothing that is none (RFC 8878, 3).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 zstd=1.5.4+dfsg2-5 libzstd1=1.5.4+dfsg2-5 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/usr/lib/llvm-14/lib
export PATH LD_LIBRARY_PATH
echo text > member
bsdtar --zstd -cf file.zst member
bsdtar --zstd -cf - member | cat > pipe.zst
for name in file pipe; do
    size=$(($(wc -c < "$name.zst") % 10240))
    zstd -q -t "$name.zst" 2>/dev/null && zstd=reads || zstd=fails
    tar --zstd -tf "$name.zst" > names 2>/dev/null && tar=reads || tar=fails
    bsdtar -tf "$name.zst" > names 2>/dev/null && bsdtar=reads || bsdtar=fails
    [ "$size" -eq 0 ] && size='whole records' || size='no whole records'
    echo "$name: $size, zstd $zstd, GNU tar $tar, bsdtar $bsdtar"
done > seen
cat > stated <<'END'
file: no whole records, zstd reads, GNU tar reads, bsdtar reads
pipe: whole records, zstd fails, GNU tar fails, bsdtar fails
END
diff -u stated seen
cat seen
echo 'as stated'
