"""Names in the code: each stands for one thing, and what a docstring names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_layering import MODULES, name_of


def names_of_types(path: Path) -> Iterator[str]:
    """Public classes, and the types that a module gives a name to (but no type variables)."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name


def test_the_name_of_a_type_stands_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in names_of_types(path):
            homes.setdefault(name, []).append(name_of(path))
    twice = {name: at for name, at in homes.items() if len(at) > 1 and name[0] != "_"}
    assert not twice
    assert len(homes) > 200


SHARED_NAMES = {
    "apply": "the library's, and the step of a build that is called so",
    "command": "what a command's own file holds",
    "differences": "of two runs of the switch, and of two readers of a file",
    "mend": "one for each kind of checksums in a package",
    "names_of": "of flags, and of what a signature binds",
    "parse": "a table of a TOML file, and a descriptor",
    "read": "one for each kind of input",
    "read_header": "of a gzip member, and of an ELF file",
    "recognise": "a compression, and a source fix",
    "replace": "a file on the disk, and a member of a tar file",
    "require": "of the kernel linker, and of an emulator",
    "run": "the command line, and an emulator",
    "shown": "the progress, and a name in a tar file",
    "staged": "where a build stages a file, and the step that looks there",
    "unpacked": "a compressed file, and a compressed kernel",
}
"""Functions that two rooms have, and what each is about there. Classes have one home each."""


def functions_of(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


def test_the_name_of_a_function_stands_once() -> None:
    """From the library down to the proof nobody has to ask which scan, prove or replay it is."""
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in functions_of(path):
            homes.setdefault(name, []).append(name_of(path))
    twice = {name: at for name, at in homes.items() if len(at) > 1}
    assert twice.keys() == SHARED_NAMES.keys(), twice.keys() ^ SHARED_NAMES.keys()


def test_what_a_docstring_refers_to_is_there() -> None:
    texts = {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): text
        for path, text in ((path, path.read_text(encoding="utf-8")) for path in MODULES)
    }
    found = [
        (module, target)
        for module, text in texts.items()
        for target in re.findall(r"(?::(?:mod|class|func|meth|data):`~?|``)(kpatch\.[\w.]+)`", text)
    ]
    assert len(found) > 20
    for module, target in found:
        home, _, name = target.rpartition(".")
        defined = rf"^\s*(?:class|def) {name}\b|^{name}\b.*="
        is_there = target in texts or re.search(defined, texts.get(home, ""), re.MULTILINE)
        assert is_there, f"{module} refers to {target}"


def test_loop_variables_say_what_they_are() -> None:
    """``each`` is for what has no name of its own: a quarter of all loops had it once."""
    loops = [
        node.target
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.For | ast.comprehension)
    ]
    nameless = [target for target in loops if "each" in ast.unparse(target).split(", ")]
    assert len(loops) > 1000 and len(nameless) <= 60


def constants_of(path: Path) -> Iterator[tuple[str, object]]:
    """Constants with a value that can be written down, but for the smallest numbers."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if not isinstance(target, ast.Name) or not target.id.isupper():
                continue
            folded = ast.unparse(node.value).replace("frozenset(", "").rstrip(")")
            if folded not in ("0", "1", "2", "()", "{}", "[]"):
                yield target.id.strip("_"), folded


def test_a_constant_stands_once() -> None:
    """The same name for the same value in two modules is one constant that will drift apart."""
    homes: dict[tuple[str, object], list[str]] = {}
    for path in MODULES:
        for constant in constants_of(path):
            homes.setdefault(constant, []).append(name_of(path))
    twice = {constant: at for constant, at in homes.items() if len(at) > 1}
    # Type variables are local to a module; a type checker wants them so.
    assert {name for name, _ in twice} <= {"T"}, twice
    assert len(homes) > 300
