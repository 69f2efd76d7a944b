#!/bin/sh
# Package:   tar 1.34, libarchive-tools 3.6.2 (bsdtar), busybox 1.35.0, toybox 0.8.9, pax 20201030, 7zip 26.02
#            (Debian 12)
# Behaviour: the time of a file that a global pax header gives is taken by GNU tar alone. The other five say 1970, as
#            the file's own ustar header does, and exit with 0. What `tar --pax-option` packed comes out with other
#            times.
# Expected:  the global header's value, for each file without one of its own (POSIX.1-2017, pax, "pax Extended Header":
#            typeflag g "shall affect all subsequent files" and overrides the fields of the ustar header).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq tar=1.34+dfsg-1.2+deb12u1 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 busybox-static=1:1.35.0-4+deb12u1+b1 toybox=0.8.9+dfsg-1 pax=1:20201030-1 7zip=22.01+really26.02+dfsg-0+deb12u1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/bin:$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
TZ=UTC
export PATH LD_LIBRARY_PATH TZ
mkdir in
echo text > in/file
touch -d @0 in/file
tar -C in --format=pax --pax-option=globexthdr.name=global,mtime=1000000000 -cf archive.tar file
for tool in tar bsdtar busybox toybox pax 7zz; do
    mkdir "out-$tool"
    cd "out-$tool"
    case $tool in
        tar | bsdtar) "$tool" -xf ../archive.tar ;;
        busybox | toybox) "$tool" tar -xf ../archive.tar ;;
        pax) pax -r -f ../archive.tar ;;
        7zz) 7zz x ../archive.tar > ../log ;;
    esac
    cd ..
    echo "$tool: $(stat -c %Y "out-$tool/file")"
done > seen
cat > stated <<'END'
tar: 1000000000
bsdtar: 0
busybox: 0
toybox: 0
pax: 0
7zz: 0
END
diff -u stated seen
cat seen
echo 'as stated'
