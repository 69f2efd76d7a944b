"""The house keeps its order: who may import whom, and what a scan must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks import startup

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kpatch"
FLOORS = (
    ("units", "errors", "data", "digest", "interrupts"),
    ("elf", "isa", "storage"),
    ("entry",),
    ("containers",),
    ("signature", "kernel", "kqemu"),
    ("patch", "verify", "witness"),
    ("expected",),
    ("machinetest", "proving", "readback"),
    ("panicdemo",),
    ("repair",),
    ("ports",),
    ("report",),
    ("cli",),
    ("__main__", "__init__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
STRANGERS = {
    frozenset(pair)
    for pair in (
        ("elf", "isa"),
        ("elf", "storage"),
        ("isa", "storage"),
        ("kernel", "kqemu"),
        ("kernel", "signature"),
        ("kqemu", "signature"),
        ("patch", "verify"),
        ("patch", "witness"),
        ("verify", "witness"),
    )
}
"""Neighbours on one floor that do not know each other."""

COLUMN = ("explore", "hardware", "world", "machine", "proof")
"""The rooms inside verify/, lowest first."""

HOMES = {
    "capstone": ("kpatch/isa/capstone_library.py",),
    "click": ("kpatch/cli/",),
    "elftools": ("kpatch/elf/", "kpatch/witness/"),
    "keystone": ("kpatch/isa/assemble.py",),
    "lief": ("kpatch/witness/",),
    "unicorn": ("kpatch/verify/",),
}
"""Where each library may be imported."""

MOST_LINES = 300
FEWEST_LINES = 15
LONGEST_FUNCTION = 50
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def everywhere(paths: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """A rule for every one of these files as one test: 300 tests of a rule cost more than the rule.
    Every file that breaks it is named.
    """

    def one_test(rule: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            broken = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken.append(f"{name_of(path)}: {error}")
            if broken:
                pytest.fail("\n".join(broken))

        test.__doc__ = rule.__doc__
        return test

    return one_test


def imports_of(path: Path) -> Iterator[str]:
    """Full names of all modules that ``path`` imports, inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """``elf`` for ``kpatch.elf.module``; empty for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else ""


def own_room(path: Path) -> str:
    return room_of(f"kpatch.{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}")


@everywhere(MODULES)
def test_no_room_imports_a_higher_one(path: Path) -> None:
    own = own_room(path)
    for name in imports_of(path):
        if name.split(".")[0] != "kpatch" or not room_of(name):
            continue
        assert own, f"the package itself imports {name}"
        assert FLOOR[room_of(name)] <= FLOOR[own], f"{own} imports {name}"
        assert frozenset((own, room_of(name))) not in STRANGERS, f"{own} imports {name}"


def column_room(module: str) -> str:
    """``world`` for ``kpatch.verify.world.guest``; empty outside of the column."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["kpatch", "verify"] and len(parts) > 2 else ""


@everywhere(sorted((PACKAGE / "verify").rglob("*.py")))
def test_no_room_of_the_proof_imports_a_higher_one(path: Path) -> None:
    own = column_room(name_of(path).removesuffix(".py").replace("/", "."))
    for name in imports_of(path):
        above = column_room(name)
        if above and own != "__init__":
            assert COLUMN.index(above) <= COLUMN.index(own), f"{own} imports {name}"


@everywhere(MODULES)
def test_a_library_is_imported_in_its_room_only(path: Path) -> None:
    for name in imports_of(path):
        library = name.split(".")[0]
        homes = HOMES.get(library)
        assert homes is None or name_of(path).startswith(homes), f"imports {library}"


@everywhere(MODULES)
def test_a_module_is_short_and_worth_a_file(path: Path) -> None:
    """Faces of packages, and the one line that ``python -m kpatch`` needs, may be as short."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES
    assert lines >= FEWEST_LINES or path.name in ("__init__.py", "__main__.py")


@everywhere(MODULES)
def test_a_function_fits_a_page(path: Path) -> None:
    """Its own lines: neither its parameters and docstring, nor the functions inside it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            lines = set(range(node.body[documented].lineno, (node.end_lineno or 0) + 1))
            for inner in ast.walk(node):
                if inner is not node and isinstance(inner, ast.FunctionDef):
                    lines -= set(range(inner.lineno, (inner.end_lineno or 0) + 1))
            assert len(lines) <= LONGEST_FUNCTION, f"{node.name}, line {node.lineno}"


@everywhere(MODULES)
def test_a_function_that_always_raises_says_so(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.FunctionDef) or not isinstance(node.body[-1], ast.Raise):
            continue
        leaves = any(
            isinstance(inner, ast.Return | ast.Yield | ast.YieldFrom) for inner in ast.walk(node)
        )
        assert leaves or ast.unparse(node.returns or node) == "NoReturn", node.name


@everywhere(MODULES)
def test_only_the_command_line_prints_exits_and_reads_the_environment(path: Path) -> None:
    if own_room(path) in ("cli", "__main__"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "input", "exit", "quit", "SystemExit"), node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{node.value.id}.{node.attr}"
            assert used not in ("os.environ", "os.getenv", "sys.exit", "sys.argv")


@everywhere(MODULES)
def test_input_is_never_checked_by_assert(path: Path) -> None:
    tree = tree_of(path)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


def test_every_room_has_a_floor() -> None:
    rooms = {each.name for each in PACKAGE.iterdir() if (each / "__init__.py").is_file()}
    files = {each.stem for each in PACKAGE.glob("*.py")}
    assert rooms | files == set(FLOOR)


def test_the_checks_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from kpatch.cli import main\n    import lief.ELF\n")
    assert list(imports_of(path)) == ["kpatch.cli.main", "lief.ELF"]
    assert FLOOR[room_of("kpatch.cli.main")] > FLOOR["elf"]

    def is_in_verify(each: Path) -> None:
        assert own_room(each) == "verify", "it is not"

    with pytest.raises(pytest.fail.Exception, match=r"kpatch/errors\.py: it is not"):
        everywhere(MODULES)(is_in_verify)()


RUN = """
import sys
from kpatch.cli.main import run
code = run(sys.argv[1:])
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
theirs = {name.split(".")[0] for name, file in files.items() if "site-packages" in file}
print(code, *sorted(each for each in theirs - {"kpatch"} if each.strip("_") == each))
print(*sorted({"json", "hashlib", "dataclasses"} & set(sys.modules)), file=sys.stderr)
"""
"""A command, and what it imports that is neither Python's own nor ours."""


def run_of(*command: str | Path) -> subprocess.CompletedProcess[str]:
    python = [sys.executable, "-c", RUN, *map(str, command)]
    return subprocess.run(python, capture_output=True, text=True, timeout=300, check=True)


def imported_by(*command: str | Path) -> list[str]:
    return run_of(*command).stdout.splitlines()[-1].split()


def names_of_libraries(imports: tuple[str, ...]) -> list[str]:
    return sorted(each.split(".")[0] for each in imports)


def test_a_scan_loads_what_the_benchmark_counts_and_no_other_library() -> None:
    done = run_of("scan", ROOT / "samples" / "kqemu-7.ko")
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded == ["1", *names_of_libraries(startup.SCAN)]
    assert not {"lief", "keystone", "unicorn", "capstone", "click"} & set(startup.SCAN)
    assert not done.stderr.split(), "what a scan of one file has no use for"


def test_an_apply_loads_what_the_benchmark_counts(tmp_path: Path) -> None:
    sample = ROOT / "samples" / "kqemu-7.ko"
    loaded = imported_by("apply", "--no-verify", "-q", "-o", tmp_path / "out.ko", sample)
    here = tuple(each for each in startup.APPLY if each not in startup.READERS)
    assert loaded == ["0", *names_of_libraries(here)]
