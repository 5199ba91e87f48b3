"""The n-th largest of many keys, found by counting.

Two passes over the keys, whatever the number of ranks asked for: the first counts the upper 16
bits, the second the lower 16 bits of those keys whose upper bits are in question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.weights._kernels import NUM_LOWER, NUM_UPPER, Counts

_LARGEST_KEY = (1 << 31) - 1


class Cut(NamedTuple):
    """Which keys are the ``n`` largest: all above ``key``, and ``quota`` of those equal to it."""

    key: int
    num_above: int
    quota: int


NOTHING = Cut(key=_LARGEST_KEY, num_above=0, quota=0)
"""The cut of no keys at all: none is larger than the largest possible one."""


class KeyCounts:
    """Counts of keys, from which cuts are read.

    Args:
        upper: of the first pass, (65536, 2), as :meth:`Kernels.count_upper` adds them up.
        ranks: the numbers of largest keys that will be cut off.
    """

    def __init__(self, upper: Counts, ranks: Sequence[int]) -> None:
        self.upper = upper
        places = sorted({_last_place(upper[:, 0], rank)[0] for rank in ranks if rank > 0})
        self._known = {place: known for place in places if (known := _known_lower(*upper[place]))}
        self.open = [place for place in places if place not in self._known]
        """Places that the second pass has to tell more of, each with its slot."""
        self.slots = slots_of(self.open)
        self._of_open = upper[self.open, 0]
        self.lower: Counts = no_lower(self.open)
        """Of the second pass; see :meth:`add_lower`."""

    @property
    def needs_second_pass(self) -> bool:
        """Whether the first pass leaves any cut open."""
        return len(self.lower) > 1

    def add_lower(self, parts: Iterable[Counts]) -> None:
        """Add the counts of the second pass, as :meth:`Kernels.count_lower` makes them.

        Args:
            parts: one a thread, of the shape of :attr:`lower`, with a row for each of
                :attr:`slots`.
        """
        self.lower = added(parts, self.lower)
        self.lower[:-1, 0] = self._of_open - self.lower[:-1, 1:].sum(axis=1)

    def cut(self, rank: int) -> Cut:
        """The cut of the ``rank`` largest keys; ``rank`` is one of those told in the beginning."""
        if rank == 0:
            return NOTHING
        place, above = _last_place(self.upper[:, 0], rank)
        lower, above_within = _last_place(self.lower_of(place), rank - above)
        num_above = above + above_within
        return Cut(key_of(place, lower), num_above, rank - num_above)

    def lower_of(self, place: int) -> Counts:
        """Counts of the lower bits of the keys whose upper bits are counted here, (65536,)."""
        if place in self._known:
            return self._known[place].counts()
        counts: Counts = self.lower[self.slots[place]]
        return counts


class PartCounts:
    """Counts of all keys and of those without a part, when that part is counted apart.

    The two have cuts at other places. One table of slots serves both in the second pass over all
    keys; of the part, few as a rule, only what is subtracted is counted.

    Args:
        upper: of all keys, as for :class:`KeyCounts`.
        part: of those that are left out in :attr:`rest`.
        ranks: gives the ranks of so many keys.
    """

    def __init__(self, upper: Counts, part: Counts, ranks: Callable[[int], Sequence[int]]) -> None:
        rest = upper - part
        self.ranks, self.rest_ranks = ranks(int(upper[:, 0].sum())), ranks(int(rest[:, 0].sum()))
        self.all, self.rest = KeyCounts(upper, self.ranks), KeyCounts(rest, self.rest_ranks)
        self._places = sorted({*self.all.open, *self.rest.open})
        self.slots, self.part_slots = slots_of(self._places), self.rest.slots

    def no_lower(self) -> Counts:
        """The counts of all keys before the second pass."""
        return no_lower(self._places)

    def no_part_lower(self) -> Counts:
        """The counts of the part before the second pass."""
        return no_lower(self.rest.open)

    def add_lower(self, lower: Iterable[Counts], part: Iterable[Counts]) -> None:
        """Add the counts of the second pass, as for :meth:`KeyCounts.add_lower`."""
        whole = added(lower, self.no_lower())
        self.all.add_lower([self._rows(whole, self.all)])
        without = self._rows(whole, self.rest)
        for counts in part:
            without -= counts
        self.rest.add_lower([without])

    def _rows(self, lower: Counts, counts: KeyCounts) -> Counts:
        return lower[[*self.slots[counts.open], -1]]


class _AllAlike(NamedTuple):
    """Keys of one place whose lower bits are all the same."""

    lower: int
    num_keys: int

    def counts(self) -> Counts:
        counts: Counts = np.zeros(NUM_LOWER, dtype=np.int64)
        counts[self.lower] = self.num_keys
        return counts


def _known_lower(count: int, lower_sum: int) -> _AllAlike | None:
    """What the sum of the lower bits gives away: whether all of them are 0, or all ones.

    So it is with what did not change, which may be most, and with nearly all differences of
    bfloat16, which have few digits.
    """
    for lower in (0, NUM_LOWER - 1):
        if lower_sum == count * lower:
            return _AllAlike(lower, int(count))
    return None


def slots_of(places: Sequence[int]) -> NDArray[np.int32]:
    """The slots of places in question, -1 for all others, (65536,)."""
    slots = np.full(NUM_UPPER, -1, dtype=np.int32)
    slots[places] = np.arange(len(places), dtype=np.int32)
    return slots


def no_lower(places: Sequence[int]) -> Counts:
    """The counts of the second pass before the first key, with a row for each slot and a spare."""
    return np.zeros((len(places) + 1, NUM_LOWER), dtype=np.int64)


def no_upper() -> Counts:
    """The counts of the first pass before the first key."""
    return np.zeros((NUM_UPPER, 2), dtype=np.int64)


def added(parts: Iterable[Counts], start: Counts) -> Counts:
    """Counts of several threads put together with ``start``."""
    total = start.copy()
    for part in parts:
        total += part
    return total


def key_of(place: int, lower: int) -> int:
    """The key with its upper bits counted at ``place`` and these lower bits."""
    return (place - NUM_UPPER // 2) * NUM_LOWER + lower


def _last_place(counts: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """Where the ``rank``-th largest is counted, and how many lie in the places above it."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, rank))
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, above
