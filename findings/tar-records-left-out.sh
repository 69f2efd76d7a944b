#!/bin/sh
# Package:   tar 1.34, libarchive-tools 3.6.2 (bsdtar), busybox 1.35.0, toybox 0.8.9, pax 20201030, cpio 2.13
#            (Debian 12)
# Behaviour: of a pax header busybox, toybox and pax take the name and leave owner and time: user 3000000 is shown as
#            another one, and a time before 1970 as a later one. In GNU tar's own format, which has numbers that are
#            not octal, pax leaves them too, and toybox says "bad header". cpio cuts the name at 100 bytes in both,
#            and takes the header for a file. All but toybox there exit with 0. GNU tar and bsdtar read all of it.
# Expected:  the records' values in place of the fields (POSIX.1-2017, pax, "pax Extended Header": uid, mtime, path).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq tar=1.34+dfsg-1.2+deb12u1 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 busybox-static=1:1.35.0-4+deb12u1+b1 toybox=0.8.9+dfsg-1 pax=1:20201030-1 cpio=2.13+dfsg-7.1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/bin:$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
TZ=UTC
export PATH LD_LIBRARY_PATH TZ
name=$(printf '%0120d' 0)
mkdir in
echo text > "in/$name"
touch -d @-5 "in/$name"
for format in pax gnu; do
    tar -C in --format=$format --owner=somebody:3000000 --group=0 --numeric-owner -cf $format.tar "$name"
    for tool in tar bsdtar busybox toybox pax cpio; do
        case $tool in
            tar | bsdtar) "$tool" --numeric-owner -tvf $format.tar ;;
            busybox | toybox) "$tool" tar -tvf $format.tar ;;
            pax) pax -v -f $format.tar ;;
            cpio) cpio -itvn --quiet < $format.tar ;;
        esac > list 2> /dev/null && status=0 || status=fails
        whole=$(grep -c " $name\$" list || true)
        owner=$(grep -c '[ /]3000000[ /]' list || true)
        time=$(grep -c '1969' list || true)
        echo "$format, $tool: status $status, whole name $whole, owner $owner, time $time, lines $(grep -c . list || true)"
    done
done > seen
cat > stated <<'END'
pax, tar: status 0, whole name 1, owner 1, time 1, lines 1
pax, bsdtar: status 0, whole name 1, owner 1, time 1, lines 1
pax, busybox: status 0, whole name 1, owner 0, time 0, lines 1
pax, toybox: status 0, whole name 1, owner 0, time 0, lines 1
pax, pax: status 0, whole name 1, owner 0, time 0, lines 2
pax, cpio: status 0, whole name 0, owner 0, time 0, lines 2
gnu, tar: status 0, whole name 1, owner 1, time 1, lines 1
gnu, bsdtar: status 0, whole name 1, owner 1, time 1, lines 1
gnu, busybox: status 0, whole name 1, owner 1, time 1, lines 1
gnu, toybox: status fails, whole name 0, owner 0, time 0, lines 0
gnu, pax: status 0, whole name 1, owner 0, time 0, lines 2
gnu, cpio: status 0, whole name 0, owner 0, time 0, lines 2
END
diff -u stated seen
cat seen
echo 'as stated'
