"""What could be trained on: facts of one level or several together, so and so many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

PAPERS_SIZE = 240
"""Best at every level in the paper (section 4)."""

_SETS = ((2,), (2, 3, 4), (3,), (4,), (1, 2, 3, 4), (1,), (0,), (0, 1, 2, 3, 4))
"""What is tried first comes first: the paper's level, and what lies above it."""

_ALIKE = 0.8  # a size above this share of all there is differs too little from it


class Candidate(NamedTuple):
    """Training facts of some levels, drawn balanced over topics."""

    levels: tuple[int, ...]
    size: int

    @property
    def name(self) -> str:
        """Of its runs, without the seed."""
        return f"levels{'+'.join(map(str, self.levels))}-size{self.size}"

    def __str__(self) -> str:
        return f"{self.size} of {levels_text(self.levels)}"


def levels_text(levels: Sequence[int]) -> str:
    """``level 2``, ``levels 2 to 4``, ``levels 0, 2 and 4``."""
    if len(levels) == 1:
        return f"level {levels[0]}"
    if len(levels) > 2 and levels[-1] - levels[0] == len(levels) - 1:
        return f"levels {levels[0]} to {levels[-1]}"
    return f"levels {', '.join(map(str, levels[:-1]))} and {levels[-1]}"


def recipe(available: Sequence[int]) -> Candidate | None:
    """The paper's: 240 facts of level 2, or all where there are fewer; None where it has none."""
    return Candidate((2,), min(PAPERS_SIZE, available[2])) if available[2] else None


def grid(available: Sequence[int], sizes: Sequence[int], limit: int) -> list[Candidate]:
    """The candidates of a pilot, by size.

    Every level, and mixtures of neighbouring ones, at the sizes that it has facts for; a size
    above all there is becomes all there is. Where that is more than ``limit``, first each set of
    levels gets the size nearest to the paper's best, then the largest, the smallest, and the rest.

    Args:
        available: training facts of level 0 to 4.
        sizes: growing.
        limit: candidates at most.
    """
    queues: dict[tuple[int, ...], list[Candidate]] = {}
    for wanted in _SETS:
        levels = tuple(level for level in wanted if available[level])
        if levels and levels not in queues:
            queues[levels] = _by_interest(levels, available, sizes)
    turns = zip_longest(*queues.values())
    found = [one for turn in turns for one in turn if one is not None]
    return sorted(found[:limit], key=lambda one: (one.size, one.levels))


def _by_interest(
    levels: tuple[int, ...], available: Sequence[int], sizes: Sequence[int]
) -> list[Candidate]:
    total = sum(available[level] for level in levels)
    top = min(total, sizes[-1])
    own = {*(size for size in sizes if size <= _ALIKE * top), top}
    fixed = recipe(available)
    if fixed is not None and levels == fixed.levels:
        own.add(fixed.size)
    growing = sorted(own)
    nearest = min(growing, key=lambda size: abs(math.log(size / PAPERS_SIZE)))
    order = dict.fromkeys([nearest, growing[-1], growing[0], *growing])
    return [Candidate(levels, size) for size in order]
