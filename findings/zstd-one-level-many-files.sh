#!/bin/sh
# Package:   zstandard 0.20.0 (PyPI), zstd 1.5.4 (Debian 12); both have libzstd 1.5.4
# Behaviour: one version, one level, one content of 3 MiB, and six ways to compress it give three files.
#            The zstd program has a worker unless "--single-thread" is given: its bytes are those of the
#            library at once, or of its stream with "threads=1". A stream without makes others, and
#            "--single-thread" of a file, which looks like one, makes others again. Of 400 KiB all
#            are equal.
# Expected:  a version and a level tell what the bytes are, as with zlib, libbz2 and liblzma.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install zstandard==0.20.0
cd "$work"
chmod 755 "$work"
apt-get download -qq zstd=1.5.4+dfsg2-5 libzstd1=1.5.4+dfsg2-5 2>/dev/null
for each in ./*.deb; do dpkg -x "$each" root; done
PATH=$work/root/usr/bin:$PATH
LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu
export PATH LD_LIBRARY_PATH
venv/bin/python - > seen <<'END'
import random
import subprocess

import zstandard

draw = random.Random(1)
words = [draw.randbytes(draw.randrange(2, 9)) for _ in range(3000)]


def text(size):
    return b"".join(draw.choice(words) for _ in range(size // 5))[:size]


def program(*options, **given):
    command = ["zstd", "-3", "-c", *options]
    return subprocess.run(command, capture_output=True, check=True, **given).stdout


def streamed(content, threads):
    packer = zstandard.ZstdCompressor(level=3, write_checksum=True, threads=threads)
    stream = packer.compressobj(size=len(content))
    steps = range(0, len(content), 65536)
    return b"".join(stream.compress(content[at : at + 65536]) for at in steps) + stream.flush()


content = b"".join(
    text(draw.randrange(20000, 90000)) + draw.randbytes(draw.randrange(3000, 60000))
    for _ in range(40)
)
for size in (400 << 10, 3 << 20):
    part = content[:size]
    with open("content", "wb") as file:
        file.write(part)
    made = {
        "library, at once": zstandard.ZstdCompressor(level=3, write_checksum=True).compress(part),
        "library, a stream": streamed(part, 0),
        "library, a stream and a worker": streamed(part, 1),
        "program": program("content"),
        "program --single-thread": program("--single-thread", "content"),
        "program --single-thread --stream-size": program(
            "--single-thread", f"--stream-size={size}", input=part
        ),
    }
    groups = {}
    for way, packed in made.items():
        groups.setdefault(packed, []).append(way)
    for number, ways in enumerate(groups.values(), 1):
        print(f"{size >> 10} KiB, file {number}: {'; '.join(ways)}")
END
cat > stated <<'END'
400 KiB, file 1: library, at once; library, a stream; library, a stream and a worker; program; program --single-thread; program --single-thread --stream-size
3072 KiB, file 1: library, at once; library, a stream and a worker; program
3072 KiB, file 2: library, a stream; program --single-thread --stream-size
3072 KiB, file 3: program --single-thread
END
diff -u stated seen
cat seen
echo 'as stated'
