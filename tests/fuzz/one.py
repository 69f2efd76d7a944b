"""One target under atheris, in a process of its own; the rest of the arguments is libFuzzer's."""

from __future__ import annotations

import sys

import atheris

if __name__ == "__main__":
    with atheris.instrument_imports(include=["kpatch"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]].timed)
    atheris.Fuzz()
