"""The n-th largest of many keys, found by counting.

Two passes over the keys, whatever the number of ranks asked for: the first counts the upper 16
bits, the second the lower 16 bits of those keys whose upper bits are in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.weights._change import Keys

NUM_UPPER = 1 << 15
NUM_LOWER = 1 << 16


class Cut(NamedTuple):
    """Which keys are the ``n`` largest: all above ``key``, and ``quota`` of those equal to it."""

    key: int
    num_above: int
    quota: int


NOTHING = Cut(key=(1 << 31) - 1, num_above=0, quota=0)
"""The cut of no keys at all: none is larger than the largest possible one."""


class KeyCounts:
    """Counts of keys, from which cuts are read."""

    def __init__(self) -> None:
        self.upper = np.zeros(NUM_UPPER, dtype=np.int64)
        self._slots = np.full(NUM_UPPER, -1, dtype=np.int32)
        self._lower = np.zeros(0, dtype=np.int64)

    def count_upper(self, keys: Keys) -> None:
        """First pass."""
        self.upper += np.bincount(keys >> 16, minlength=NUM_UPPER)

    def ask(self, ranks: Sequence[int]) -> None:
        """Between the passes: the numbers of largest keys that will be cut off."""
        bins = sorted({_last_bin(self.upper, rank)[0] for rank in ranks if rank > 0})
        self._slots[bins] = np.arange(len(bins), dtype=np.int32)
        self._lower = np.zeros(len(bins) * NUM_LOWER, dtype=np.int64)

    def count_lower(self, keys: Keys) -> None:
        """Second pass."""
        if not len(self._lower):
            return
        slots = self._slots[keys >> 16]
        concerned = np.flatnonzero(slots >= 0)
        places = slots[concerned].astype(np.int64) * NUM_LOWER
        places += keys[concerned] & (NUM_LOWER - 1)
        if len(places) > len(self._lower) // 4:
            self._lower += np.bincount(places, minlength=len(self._lower))
        else:
            np.add.at(self._lower, places, 1)

    def cut(self, rank: int) -> Cut:
        """The cut of the ``rank`` largest keys; ``rank`` was asked for between the passes."""
        if rank == 0:
            return NOTHING
        upper, above = _last_bin(self.upper, rank)
        lower, above_within = _last_bin(self.lower_of(upper), rank - above)
        num_above = above + above_within
        return Cut((upper << 16) | lower, num_above, rank - num_above)

    def lower_of(self, upper: int) -> NDArray[np.int64]:
        """Counts of the lower bits of the keys with these upper bits, (65536,)."""
        slot = int(self._slots[upper])
        return self._lower[slot * NUM_LOWER : (slot + 1) * NUM_LOWER]


def _last_bin(counts: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """The bin that the ``rank``-th largest falls in, and how many lie in the bins above it."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, rank))
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, above
