"""How much of a sum its largest terms hold (paper section 6, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sftlens.weights._change import Floats, float_keys, key_values
from sftlens.weights._radix import NUM_LOWER, NUM_UPPER, Cut, KeyCounts


class Concentration:
    """The share of the sum of non-negative values that the largest of them hold.

    Two passes over the same values, in pieces; sums are in float64. Equal values hold equal parts,
    so that it does not matter which of them count as the largest.
    """

    def __init__(self) -> None:
        self._counts = KeyCounts()
        self._sums = np.zeros(NUM_UPPER, dtype=np.float64)

    @property
    def total(self) -> float:
        """The sum of all values fed so far."""
        return float(self._sums.sum())

    def first_pass(self, values: Floats) -> None:
        """Feed a piece of the values, (num_entries,)."""
        keys = float_keys(values)
        self._counts.count_upper(keys)
        self._sums += np.bincount(keys >> 16, weights=values, minlength=NUM_UPPER)

    def ask(self, ranks: Sequence[int]) -> None:
        """Between the passes: the numbers of largest values that will be asked for."""
        self._counts.ask(ranks)

    def second_pass(self, values: Floats) -> None:
        """Feed the same piece again."""
        self._counts.count_lower(float_keys(values))

    def cut(self, rank: int) -> Cut:
        """Which values are the ``rank`` largest."""
        return self._counts.cut(rank)

    def held(self, rank: int) -> float | None:
        """The fraction of the sum that the ``rank`` largest values hold; None of a sum of 0."""
        if self.total == 0:
            return None
        if rank == 0:
            return 0.0
        cut = self.cut(rank)
        upper, lower = cut.key >> 16, cut.key & (NUM_LOWER - 1)
        counts = self._counts.lower_of(upper)
        above = np.flatnonzero(counts[lower + 1 :]) + lower + 1
        held = float(self._sums[upper + 1 :].sum())
        held += float(counts[above] @ key_values((upper << 16) | above).astype(np.float64))
        held += cut.quota * float(key_values(np.array([cut.key]))[0])
        return min(1.0, held / self.total)
