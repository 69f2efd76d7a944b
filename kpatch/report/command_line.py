"""Command lines for people to copy: what a shell makes of them is what is meant.

They repeat the options of the call that prints them, where they mean something to the command: a
repair for one kernel is proven for that kernel, and a signature of one's own is named again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TypeAlias

Given: TypeAlias = Sequence[tuple[str, str]]
"""Options of a call and their values, as ``("--osversion", "700055")``."""

_PLAIN: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./-_"
)
"""No shell does anything to a word of these (POSIX.1-2017, XCU 2.2)."""

_KERNEL: Final = ("--osversion", "--kernel")


def command_line(words: str, path: str, given: Given = ()) -> str:
    """``kpatch WORDS``, with the options that were ``given``, on the file ``path``."""
    options = [
        f"{option} {quoted(value)} "
        for option, value in given
        if words != "revert" or option not in _KERNEL
    ]
    # A name that begins with a dash would be an option.
    return f"kpatch {words} {''.join(options)}{quoted(f'./{path}' if path[:1] == '-' else path)}"


def repair_with(option: str, path: str, given: Given) -> str:
    """The repair with an ``option`` that a refusal left to the user, who alone knows VERSION."""
    if option in _KERNEL:
        given = [each for each in given if each[0] not in _KERNEL]
        option = f"{option} VERSION"
    return command_line(f"apply {option}", path, given)


def names_kernel(given: Given) -> bool:
    """Whether the call says which kernel the module is for."""
    return any(option in _KERNEL for option, _ in given)


def quoted(word: str) -> str:
    """``word`` as one word of a shell, printable whatever is in it."""
    if word and _PLAIN.issuperset(word):
        return word
    if word.isprintable():
        return "'" + word.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
