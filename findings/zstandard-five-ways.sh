#!/bin/sh
# Package:   zstandard 0.25.0 (PyPI)
# Behaviour: its ways to unpack disagree, on valid input. Two frames in a row (RFC 8878, 3): three of
#            them give the first one only, without an error. A skippable frame in front (3.1.2): one
#            fails, two give nothing. A frame without its size: one refuses.
# Expected:  the whole content from each way, or an error from each.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install zstandard==0.25.0
"$work/venv/bin/python" - > "$work/seen" <<'END'
import io
import struct

import zstandard


def copied(data):
    output = io.BytesIO()
    zstandard.ZstdDecompressor().copy_stream(io.BytesIO(data), output)
    return output.getvalue()


content = b"0123456789" * 600
pack = zstandard.ZstdCompressor().compress
files = {
    "two frames": pack(content[:3000]) + pack(content[3000:]),
    "a skippable frame first": struct.pack("<II", 0x184D2A50, 4) + b"abcd" + pack(content),
    "no size": zstandard.ZstdCompressor(write_content_size=False).compress(content),
}
ways = {
    "decompress": lambda data: zstandard.ZstdDecompressor().decompress(data),
    "decompressobj": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "stream_reader": lambda data: zstandard.ZstdDecompressor().stream_reader(data).read(),
    "copy_stream": copied,
    "read_to_iter": lambda data: b"".join(zstandard.ZstdDecompressor().read_to_iter(data)),
}
for name, data in files.items():
    for way, unpack in ways.items():
        try:
            print(f"{name}, {way}: {len(unpack(data))} of {len(content)} bytes")
        except zstandard.ZstdError:
            print(f"{name}, {way}: error")
END
cat > "$work/stated" <<'END'
two frames, decompress: 3000 of 6000 bytes
two frames, decompressobj: 3000 of 6000 bytes
two frames, stream_reader: 6000 of 6000 bytes
two frames, copy_stream: 6000 of 6000 bytes
two frames, read_to_iter: 3000 of 6000 bytes
a skippable frame first, decompress: error
a skippable frame first, decompressobj: 0 of 6000 bytes
a skippable frame first, stream_reader: 6000 of 6000 bytes
a skippable frame first, copy_stream: 6000 of 6000 bytes
a skippable frame first, read_to_iter: 0 of 6000 bytes
no size, decompress: error
no size, decompressobj: 6000 of 6000 bytes
no size, stream_reader: 6000 of 6000 bytes
no size, copy_stream: 6000 of 6000 bytes
no size, read_to_iter: 6000 of 6000 bytes
END
diff -u "$work/stated" "$work/seen"
cat "$work/seen"
echo 'as stated'
