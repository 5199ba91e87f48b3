"""The n-th largest of many keys, found by counting.

Two passes over the keys, whatever the number of ranks asked for: the first counts the upper 16
bits, the second the lower 16 bits of those keys whose upper bits are in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_UPPER = 1 << 15
_LOWER = 1 << 16


class Cut(NamedTuple):
    """Which keys are the ``n`` largest: all above ``key``, and ``quota`` of those equal to it."""

    key: int
    num_above: int
    quota: int


NOTHING = Cut(key=(1 << 31) - 1, num_above=0, quota=0)
"""The cut of no keys at all: none is larger than the largest possible one."""


class KeyCounts:
    """Counts of int32 keys in [0, 2^31), from which cuts are read."""

    def __init__(self) -> None:
        self.upper = torch.zeros(_UPPER, dtype=torch.int64)
        self._slots = torch.full((_UPPER,), -1, dtype=torch.int64)
        self._lower = torch.zeros(0, dtype=torch.int64)

    def count_upper(self, keys: Tensor) -> Tensor:
        """First pass. Gives the upper bits of the keys."""
        upper = keys >> 16
        self.upper += torch.bincount(upper, minlength=_UPPER)
        return upper

    def ask(self, ranks: Sequence[int]) -> None:
        """Between the passes: the numbers of largest keys that will be cut off."""
        bins = sorted({self._bin(rank)[0] for rank in ranks if rank > 0})
        self._slots[bins] = torch.arange(len(bins))
        self._lower = torch.zeros(len(bins) * _LOWER, dtype=torch.int64)

    def count_lower(self, keys: Tensor) -> None:
        """Second pass."""
        if not len(self._lower):
            return
        slots = self._slots[keys >> 16]
        concerned = slots >= 0
        places = slots[concerned] * _LOWER + (keys[concerned] & (_LOWER - 1))
        if len(places) > len(self._lower) // 8:
            self._lower += torch.bincount(places, minlength=len(self._lower))
        else:
            self._lower.index_add_(0, places, torch.ones_like(places))

    def cut(self, rank: int) -> Cut:
        """The cut of the ``rank`` largest keys; ``rank`` was asked for between the passes."""
        if rank == 0:
            return NOTHING
        upper, above = self._bin(rank)
        lower, above_within = _last_bin(self.lower_of(upper), rank - above)
        num_above = above + above_within
        return Cut((upper << 16) | lower, num_above, rank - num_above)

    def lower_of(self, upper: int) -> Tensor:
        """Counts of the lower bits of the keys with these upper bits, (65536,)."""
        slot = int(self._slots[upper])
        return self._lower[slot * _LOWER : (slot + 1) * _LOWER]

    def _bin(self, rank: int) -> tuple[int, int]:
        return _last_bin(self.upper, rank)


def _last_bin(counts: Tensor, rank: int) -> tuple[int, int]:
    """The bin that the ``rank``-th largest falls in, and how many lie in the bins above it."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, rank))
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, above
