"""Prints the port's packing list for a wheel: ``python plist.py kpatch-1.0.0-py3-none-any.whl``.

Paths are relative to PREFIX; %%NAME%% is what Mk/Uses/python.mk substitutes. Each module comes with
the two compiled files that the framework's installer makes.
"""

import sys
import zipfile
from pathlib import PurePosixPath

SITE = "%%PYTHON_SITELIBDIR%%/"


def lines(names: list[str]) -> list[str]:
    """The packing list of a wheel that holds ``names``, sorted."""
    found = {"bin/kpatch"}
    for name in names:
        path = PurePosixPath(name)
        first, *rest = path.parts
        if first.endswith(".data"):
            kind, *place = rest
            if kind == "data":
                entry = "/".join(place)
                found.add(entry + ".gz" if "/man/" in f"/{entry}" else entry)
            continue
        found.add(SITE + name)
        if path.suffix == ".py":
            for kind in ("", ".opt-1"):
                compiled = path.parent / "__pycache__" / f"{path.stem}%%PYTHON_TAG%%{kind}.pyc"
                found.add(f"{SITE}{compiled}")
    return sorted(found)


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        print("\n".join(lines(wheel.namelist())))
