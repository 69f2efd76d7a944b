"""The notes of the first release hold less. What it patched is still known, proven and reverted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.giveback import given_back
from kpatch.patch.note import NO_DIGEST, read_note, sealed
from kpatch.patch.prepare import prepare
from kpatch.patch.unpatch import require_genuine

SAMPLE = (Path(__file__).parents[2] / "samples" / "kqemu-7.ko").read_bytes()


def patched_by_the_first_release() -> bytes:
    """The patch of today with the note of then: no sections, no stride, no digest of what loads."""
    data = apply_plan(prepare(assess(read_module(SAMPLE, "kqemu.ko"))))
    at = data.rindex(b'{"cpuid"')
    document, length = json.JSONDecoder().raw_decode(data[at:].decode("latin-1"))
    del document["loaded_sha256"], document["tss_stride"]
    for each in document["replaced"]:
        del each["section"], each["at"]
    document["patched_sha256"] = NO_DIGEST
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
    return sealed([data[:at] + text.ljust(length) + data[at + length :]])


def test_what_the_first_release_patched_is_patched() -> None:
    module = read_module(patched_by_the_first_release(), "kqemu.ko")
    found = assess(module)
    assert found.verdict is Verdict.PATCHED
    assert found.before is not None
    require_genuine(module, found.before)


def test_it_gives_its_original_back() -> None:
    given = given_back(read_module(patched_by_the_first_release(), "kqemu.ko"))
    assert given.data == SAMPLE


def test_it_is_known_when_stripped(tmp_path: Path) -> None:
    place = tmp_path / "kqemu.ko"
    place.write_bytes(patched_by_the_first_release())
    subprocess.run(["strip", "-g", place], check=True)
    module = read_module(place.read_bytes(), "kqemu.ko")
    assert read_note(module) is not None
    assert assess(module).verdict is Verdict.STRIPPED
