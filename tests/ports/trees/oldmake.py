"""A make that answers -V as the make of FreeBSD 6.2 to 9.x does, around the bmake of today.

The old make looks a name up among its global variables first, then on the command line. So a
value of make.conf (or of a makefile) is printed where the command line says something else.
In recipes the command line wins in both. Here: for each -V, bmake is asked without the
assignments of that name, and with them only if the answer is empty.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys


def without(name: str, words: list[str]) -> list[str]:
    """The words that are no assignment to ``name``."""
    return [word for word in words if not re.match(re.escape(name) + r"[:?+!]?=", word)]


def asked(name: str, words: list[str], flags: list[str]) -> str:
    """What bmake prints for one variable."""
    done = subprocess.run(
        ["bmake", *words, "-V", name],
        env={**os.environ, "MAKEFLAGS": shlex.join(flags)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.removesuffix("\n")


def main() -> None:
    """Print variables, or become bmake under this name."""
    words = sys.argv[2:]
    names = [words[at + 1] for at, word in enumerate(words) if word == "-V"]
    if not names:
        os.execvp("bmake", [sys.argv[1], *words])
    flags = shlex.split(os.environ.get("MAKEFLAGS", ""))
    for name in names:
        at = words.index(name)
        del words[at - 1 : at + 1]
    for name in names:
        first = asked(name, without(name, words), without(name, flags))
        print(first or asked(name, words, flags))


main()
