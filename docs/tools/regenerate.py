"""Writes what the pages show of the program: ``make docs``. A test checks that it changes nothing.

In the manual page: the synopsis and every option of every command, out of the command line itself.
In Markdown: the output of each command that stands behind a ``$`` in a console block, run in a
folder with ``kqemu.ko``, a copy of samples/kqemu-7.ko. Commands of the table ``ELSEWHERE`` are left
as they are: it says who runs them, or why nobody can.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "docs" / "kpatch.1"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EVERYWHERE = ("as_json", "color", "quiet", "verbose", "help")
CI, TESTS, NOBODY = "ci", "tests", "nobody"
ELSEWHERE = {
    "make run": (CI, "make run"),
    "make test": (CI, "time make test"),
    "pip install .": (CI, "pip install ."),
    "python3 -m build --sdist && cp dist/kpatch-1.0.0.tar.gz /usr/ports/distfiles/": (
        CI,
        "python3 -m build --sdist && cp dist/kpatch-1.0.0.tar.gz ../..",
    ),
    "scp root@host:/boot/modules/kqemu.ko . && kpatch apply --osversion 700055 kqemu.ko": (
        TESTS,
        "tests/test_pages.py::test_a_module_goes_from_its_host_and_back_as_the_page_says",
    ),
    "scp kqemu.ko root@host:/boot/modules/kqemu.ko": (
        TESTS,
        "tests/test_pages.py::test_a_module_goes_from_its_host_and_back_as_the_page_says",
    ),
    "cp -R packaging/freebsd /usr/ports/sysutils/kpatch && cd /usr/ports/sysutils/kpatch": (
        TESTS,
        "tests/test_pages.py::test_the_port_goes_where_the_page_says_and_make_reads_it_there",
    ),
    "kpatch verify --machine qemu --machine bochs kqemu.ko": (
        TESTS,
        "tests/witness/test_machines.py::test_few_rounds_withhold_the_verdict",
    ),
    "kpatch demo kqemu.ko": (
        TESTS,
        "tests/witness/test_demo.py::test_the_panic_is_shown_and_then_it_is_gone",
    ),
    "make makesum package": (NOBODY, "needs the ports tree and the pkg of a FreeBSD machine"),
    "kldunload kqemu; kldload kqemu": (NOBODY, "needs the kernel of a FreeBSD machine"),
}
"""A command of a page that is not run here: by whom it is run, and where, or why nobody can.

``docs/ports.md`` has a test that runs all its lines: tests/ports/test_page.py.
"""
TERMINAL = {"COLUMNS": "80", "TERM": "dumb"}
Call = Callable[[list[str], Path], tuple[int, str]]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def manual(text: str) -> str:
    """The manual page with its generated parts written anew."""
    from kpatch.cli.commands import group

    names = group.list_commands(click.Context(group))
    commands = {
        name: importlib.import_module(f"kpatch.cli.{name.replace('-', '_')}").command
        for name in names
    }
    synopsis = "\n".join(_synopsis(name, each) for name, each in commands.items())
    options = "\n".join(_options(name, each) for name, each in commands.items())
    return _between(_between(text, "synopsis", synopsis), "options", options)


def _between(text: str, name: str, new: str) -> str:
    start, end = f'.\\" generated: {name}\n', f'.\\" end: {name}\n'
    head, rest = text.split(start)
    return f"{head}{start}{new}\n{end}{rest.split(end)[1]}"


def _own(command: click.Command) -> list[click.Option]:
    return [
        each
        for each in command.params
        if isinstance(each, click.Option) and each.name not in EVERYWHERE
    ]


def _synopsis(name: str, command: click.Command) -> str:
    lines = [".Nm", f".Cm {name}"]
    for each in _own(command):
        lines.append(f".Op {_flags(each)}{_value(each)}")
    for each in command.params:
        if isinstance(each, click.Argument):
            word = (each.metavar or each.name or "").strip("[]").lower().replace("|", " | ")
            dots = " ..." if each.nargs == -1 else ""
            lines.append(f"{'.Ar' if each.required else '.Op Ar'} {word.removesuffix('...')}{dots}")
    return "\n".join(lines)


def _flags(option: click.Option) -> str:
    """As mdoc has them: ``Fl o , Fl -output``."""
    return " , ".join(f"Fl {each[1:]}" for each in option.opts)


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return f" Cm {' | '.join(map(str, option.type.choices))}"
    return f" Ar {(option.metavar or option.name or '').lower().replace('[,n...]', ',...')}"


def _options(name: str, command: click.Command) -> str:
    own = _own(command)
    if not own:
        return f".Ss Options of {name}\nNone but\n.Fl -help ."
    lines = [f".Ss Options of {name}", '.Bl -tag -width "--replace-source-fix"']
    for each in own:
        lines.append(f".It {_flags(each)}{_value(each)}")
        words = (each.help or "").strip()
        lines += [_escaped(line) for line in re.split(r"(?<=[.:;]) (?=[A-Z])", words)]
        if each.show_default and each.default is not None:
            lines.append(f"Without it {_escaped(str(each.default))}.")
    return "\n".join([*lines, ".El"])


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("FreeBSD", "Free\\&BSD")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def called(words: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of ``kpatch`` with these arguments in a folder, and all that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "kpatch", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **TERMINAL},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def page(text: str, call: Call = called) -> str:
    """A Markdown page with the outputs of its console blocks written anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "samples" / "kqemu-7.ko", folder / "kqemu.ko")
        return _BLOCK.sub(lambda found: f"```console\n{_block(found[1], folder, call)}```", text)


def _block(block: str, folder: Path, call: Call) -> str:
    shown = []
    for line in block.splitlines():
        if not line.startswith("$ "):
            continue
        shown.append(line)
        if line[2:] in ELSEWHERE:
            continue
        words = shlex.split(line[2:].split("  #")[0])
        if words[0] != "kpatch":
            raise SystemExit(f"{line}: only kpatch is run here; name it in ELSEWHERE")
        code, printed = call(words[1:], folder)
        if code not in (0, 1, 17, 18):
            raise SystemExit(f"{line}: exit code {code}: {printed}")
        output = printed.rstrip("\n").splitlines()
        shown += [re.sub(r"\d+\.\d+ s$", "N s", each) for each in output]
    return "".join(f"{line}\n" for line in shown)


def main() -> None:
    """Write all pages."""
    MANUAL.write_text(manual(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
    for each in PAGES:
        each.write_text(page(each.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit(f"takes no arguments.\n\n{__doc__}")
    sys.path.insert(0, str(ROOT))
    main()
