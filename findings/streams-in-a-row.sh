#!/bin/sh
# Package:   fflate 0.8.3, seek-bzip 2.0.0, compressjs 1.0.3 (npm); toybox 0.8.9, gzip 1.12, bzip2 1.0.8 (Debian 12),
#            nodejs as it is here
# Behaviour: of a file of two gzip members fflate's gunzipSync and decompressSync give the first one only, though the
#            class Gunzip of the same package gives both; of two bzip2 streams seek-bzip, compressjs and the bzcat of
#            toybox give the first. None has an error, and where the first is empty the result is empty.
# Expected:  both: members "simply appear one after another in the file" (RFC 1952, 2.2), and bzip2 decompresses
#            what is a concatenation of files to the concatenation of what was in them (its manual).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
npm install --silent --no-audit --no-fund --prefix "$work" fflate@0.8.3 seek-bzip@2.0.0 compressjs@1.0.3 > npm.log
apt-get download -qq toybox=0.8.9+dfsg-1 gzip=1.12-1 bzip2=1.0.8-5+b1 libbz2-1.0=1.0.8-5+b1 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/bin:$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/lib/x86_64-linux-gnu:$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
for tool in gzip bzip2; do
    { echo first | $tool -c; echo second | $tool -c; } > two.$tool
    { $tool -c < /dev/null; echo second | $tool -c; } > empty.$tool
done
cat > show.js <<'END'
const fs = require("fs");
const fflate = require("fflate");
const seek = require("seek-bzip");
const compressjs = require("compressjs");

function streamed(data) {
    const parts = [];
    const gunzip = new fflate.Gunzip((part) => parts.push(Buffer.from(part)));
    gunzip.push(data, true);
    return Buffer.concat(parts);
}

function show(name, file, ways) {
    const data = fs.readFileSync(file);
    const text = (way) => Buffer.from(way(data)).toString().trim().split("\n").join("+") || "nothing";
    console.log(name + ": " + Object.keys(ways).map((way) => way + " " + text(ways[way])).join(", "));
}

for (const name of ["two", "empty"]) {
    show(name, name + ".gzip", {
        gunzipSync: (data) => fflate.gunzipSync(data),
        decompressSync: (data) => fflate.decompressSync(data),
        Gunzip: streamed,
    });
    show(name, name + ".bzip2", {
        "seek-bzip": (data) => seek.decode(data),
        compressjs: (data) => compressjs.Bzip2.decompressFile(data),
    });
}
END
{
    node show.js
    for name in two empty; do
        echo "$name: gzip $(gzip -dc < $name.gzip | xargs), bzip2 $(bzip2 -dc < $name.bzip2 | xargs), toybox $(toybox bzcat $name.bzip2 | xargs)"
    done
} > seen
cat > stated <<'END'
two: gunzipSync first, decompressSync first, Gunzip first+second
two: seek-bzip first, compressjs first
empty: gunzipSync nothing, decompressSync nothing, Gunzip second
empty: seek-bzip nothing, compressjs nothing
two: gzip first second, bzip2 first second, toybox first
empty: gzip second, bzip2 second, toybox 
END
diff -u stated seen
cat seen
echo 'as stated'
