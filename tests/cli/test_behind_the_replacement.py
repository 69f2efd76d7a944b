"""Once a file is replaced nothing is left that can fail: no module of ours is loaded after that."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.children import in_child
from tests.cli.harness import package_bytes, patched_bytes, sample


def _loaded_behind_it(*arguments: str) -> list[str]:
    """What of kpatch a call loads behind its replacement, in a process that has loaded none of it.

    Libraries stay: they are no modules of ours.
    """
    for name in [each for each in sys.modules if each.partition(".")[0] == "kpatch"]:
        del sys.modules[name]
    storage = importlib.import_module("kpatch.storage")
    replace = storage.replace
    seen: set[str] = set()

    def replaced(*arguments: object, **options: object) -> object:
        done = replace(*arguments, **options)
        seen.update(sys.modules)
        return done

    storage.replace = replaced  # type: ignore[attr-defined]
    assert importlib.import_module("kpatch.cli.main").run(list(arguments)) == 0
    assert seen, "the replacement is not seen"
    return sorted(name for name in set(sys.modules) - seen if name.startswith("kpatch"))


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
    late = tmp_path / "late"

    def called() -> None:
        late.write_text(str(_loaded_behind_it(name, *unproven, *options, str(path))))

    assert in_child(called) == 0
    assert late.read_text() == "[]"
