#!/bin/sh
# Package:   libarchive-tools 3.6.2 (bsdtar), mtree-netbsd 20180822 (Debian 12)
# Behaviour: bsdtar packs by a list that mtree wrote. Names with `#`, or with bytes over 127, it reads otherwise than
#            mtree means them: into the archive goes a file by that other name, of mode 0, dated 1970, as long as the list
#            says and all zeros. A name with a space is read right. Nothing is written to standard error; exit 0.
# Expected:  the files that were listed. mtree escapes names by strsvis with VIS_CSTYLE (mtree(8), which FreeBSD shares)
#            and itself finds each again; for a name that is not there, an error.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 mtree-netbsd=20180822-7 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
TZ=UTC
LC_ALL=C.UTF-8
export PATH LD_LIBRARY_PATH TZ LC_ALL
mkdir in
for name in '1 # 2' '1 2' 'ä' 'a'; do echo text > "in/$name"; done
touch -d 2001-02-03 in/*
{
    echo '#mtree'
    (cd in && mtree -c -k type,size -p .)
} > list
{
    mtree -f list -p in && echo 'mtree finds each file'
    (cd in && bsdtar -cf ../archive.tar @../list) 2>&1
    echo "bsdtar: exit status $?"
    mkdir out
    tar --no-same-permissions -C out -xf archive.tar
    cd out
    for name in *; do printf '%s: mode %s, %s,%s\n' "$name" "$(stat -c %a "$name")" "$(stat -c %.4y "$name" | cut -c1-4)" "$(od -An -tx1 "$name")"; done
    cd ..
} > seen
cat > stated <<'END'
mtree finds each file
bsdtar: exit status 0
1 2: mode 644, 2001, 74 65 78 74 0a
1 \# 2: mode 0, 1970, 00 00 00 00 00
\M-C\M-$: mode 0, 1970, 00 00 00 00 00
a: mode 644, 2001, 74 65 78 74 0a
END
diff -u stated seen
cat seen
echo 'as stated'
