"""Once a file is replaced nothing is left that can fail: no module of ours is loaded after that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.harness import environment, package_bytes, patched_bytes, sample

SCRIPT = """
import sys
from kpatch import storage
real, seen = storage.replace, []
def replace(*arguments, **options):
    done = real(*arguments, **options)
    seen.append(set(sys.modules))
    return done
storage.replace = replace
from kpatch.cli import main
code = main.run(sys.argv[1:])
late = sorted(name for name in set(sys.modules) - seen[-1] if name.startswith("kpatch"))
print(code, len(seen) > 0, late, file=sys.stderr)
"""


@pytest.mark.parametrize("options", [(), ("--json",), ("-q",), ("-v",)], ids=" ".join)
@pytest.mark.parametrize("command", ["apply", "apply a package", "revert"])
def test_nothing_is_loaded_behind_it(
    command: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / ("kqemu.tbz" if "package" in command else "kqemu.ko")
    contents = {
        "apply": sample("kqemu-7.ko").read_bytes(),
        "apply a package": package_bytes("bzip2"),
        "revert": patched_bytes(),
    }
    path.write_bytes(contents[command])
    name = command.split()[0]
    unproven = ("--no-verify",) if name == "apply" else ()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, *unproven, *options, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "0 True []"
