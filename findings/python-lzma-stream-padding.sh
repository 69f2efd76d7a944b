#!/bin/sh
# Package:   python3.11 3.11.2 (Debian 12), its module lzma; xz-utils 5.4.1 beside it
# Behaviour: of two streams with four zeros between them lzma.decompress() and lzma.open() give the first one, and no
#            error: the second is taken for garbage behind the end. One stream with four zeros behind it is an error,
#            as if it were cut short. xz reads both as what they are.
# Expected:  zeros in fours may follow each stream, and more streams may follow them (.xz file format 1.2.1, 2.2,
#            "Stream Padding").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
apt-get download -qq python3.11-minimal=3.11.2-6+deb12u9 libpython3.11-minimal=3.11.2-6+deb12u9 libpython3.11-stdlib=3.11.2-6+deb12u9 xz-utils=5.4.1-1+deb12u2 liblzma5=5.4.1-1+deb12u2 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu
PYTHONHOME=$work/root/usr
export PATH LD_LIBRARY_PATH PYTHONHOME
echo first | xz > first.xz
echo second | xz > second.xz
printf '\0\0\0\0' > zeros
cat first.xz second.xz > together.xz
cat first.xz zeros second.xz > apart.xz
cat first.xz zeros > followed.xz
cat > show.py <<'END'
import lzma
import sys


def said(way):
    try:
        return " ".join(way().decode().split())
    except (lzma.LZMAError, EOFError) as error:
        return type(error).__name__


def opened():
    with lzma.open(sys.argv[1]) as file:
        return file.read()


print(f"decompress {said(lambda: lzma.decompress(open(sys.argv[1], 'rb').read()))}, open {said(opened)}")
END
for name in together apart followed; do
    echo "$name: xz $(xz -dc $name.xz | xargs), $(python3.11 -W ignore show.py $name.xz)"
done > seen
cat > stated <<'END'
together: xz first second, decompress first second, open first second
apart: xz first second, decompress first, open first
followed: xz first, decompress LZMAError, open EOFError
END
diff -u stated seen
cat seen
echo 'as stated'
