"""Functions of 64 bits, each exactly, as ordered binary decision diagrams (Bryant 1986).

The bits are those that stand where a CPU's number and its mask are expected, little-endian: bits
0 to 31 the number, 32 to 63 the mask. A function is a node: 0 is never true, 1 always; of any
other ``(level, no, yes)`` the bit at its level decides which function it goes on with. Equal
functions are the same node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

WIDTH: Final = 64
"""Bits that a function is about."""

_NUMBER: Final = 32
_SHIFT: Final = 5
"""The bits of the number that say how far a shift goes: 1 << n has one diagram for each."""

ORDER: Final = (
    *range(_SHIFT),
    *(
        bit
        for at in reversed(range(_NUMBER))
        for bit in ((at, _NUMBER + at) if at >= _SHIFT else (_NUMBER + at,))
    ),
)
"""Level -> bit. Behind what shifts, the bits of both in turn: so sums and comparisons are small."""

_LEVELS: Final = {bit: level for level, bit in enumerate(ORDER)}


class TooManyError(Exception):
    """There are too many functions to tell."""


class Diagrams:
    """The functions of one proof."""

    def __init__(self, most: int) -> None:
        """``most`` is how many nodes may be made."""
        self._most = most
        self._nodes: list[tuple[int, int, int]] = [(WIDTH, 0, 0), (WIDTH, 1, 1)]
        self._unique: dict[tuple[int, int, int], int] = {}
        self._chosen: dict[tuple[int, int, int], int] = {}

    def bit(self, at: int) -> int:
        """The function that is this bit."""
        return self._node(_LEVELS[at], 0, 1)

    def only(self, value: int) -> int:
        """The function that is true for this value of all the bits alone."""
        found = 1
        for level in reversed(range(WIDTH)):
            is_set = value >> ORDER[level] & 1
            found = self._node(level, 0, found) if is_set else self._node(level, found, 0)
        return found

    def choice(self, test: int, yes: int, no: int) -> int:
        """``yes`` where ``test`` is true, else ``no``. Raises TooManyError."""
        if test == 1 or yes == no:
            return yes
        if test == 0:
            return no
        if yes == 1 and no == 0:
            return test
        key = test, yes, no
        found = self._chosen.get(key)
        if found is None:
            # Spelled out: of all that tells what a guard does, this takes longest.
            first, test_no, test_yes = self._nodes[test]
            second, yes_no, yes_yes = self._nodes[yes]
            third, no_no, no_yes = self._nodes[no]
            level = min(first, second, third)
            if first != level:
                test_no = test_yes = test
            if second != level:
                yes_no = yes_yes = yes
            if third != level:
                no_no = no_yes = no
            found = self._chosen[key] = self._node(
                level,
                self.choice(test_no, yes_no, no_no),
                self.choice(test_yes, yes_yes, no_yes),
            )
        return found

    def opposite(self, one: int) -> int:
        """Not."""
        return self.choice(one, 0, 1)

    def both(self, one: int, other: int) -> int:
        """And."""
        return self.choice(one, other, 0)

    def either(self, one: int, other: int) -> int:
        """Or."""
        return self.choice(one, 1, other)

    def unlike(self, one: int, other: int) -> int:
        """Exclusive or."""
        return self.choice(one, self.choice(other, 0, 1), other)

    def examples(self, function: int) -> Iterator[int]:
        """Two values of all the bits for which it is true: with few ones, and with many. None
        where there is none.
        """
        for liked in (1, 2) if function else ():
            value, node = 0 if liked == 1 else (1 << WIDTH) - 1, function
            while node > 1:
                level, *ways = self._nodes[node]
                way = liked if ways[liked - 1] else 3 - liked
                value &= ~(1 << ORDER[level])
                value |= (way - 1) << ORDER[level]
                node = ways[way - 1]
            yield value

    def holds(self, function: int, value: int) -> bool:
        """Whether it is true for this value of all the bits."""
        while function > 1:
            level, no, yes = self._nodes[function]
            function = yes if value >> ORDER[level] & 1 else no
        return function == 1

    def _node(self, level: int, no: int, yes: int) -> int:
        if no == yes:
            return no
        key = level, no, yes
        found = self._unique.get(key)
        if found is None:
            if len(self._nodes) >= self._most:
                raise TooManyError(f"more than {self._most} nodes")
            found = self._unique[key] = len(self._nodes)
            self._nodes.append(key)
        return found
