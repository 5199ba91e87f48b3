"""How much of a sum its largest terms hold (paper section 6, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sftlens.weights._change import float_keys, key_values
from sftlens.weights._radix import Cut, KeyCounts

_LOWER = 1 << 16


class Concentration:
    """The share of the sum of non-negative float32 values that the largest of them hold.

    Two passes over the same values, in pieces; sums are in float64. Equal values hold equal parts,
    so that it does not matter which of them count as the largest.
    """

    def __init__(self) -> None:
        self._counts = KeyCounts()
        self._sums = torch.zeros(len(self._counts.upper), dtype=torch.float64)

    def first_pass(self, values: Tensor) -> None:
        """Feed a piece of the values, float32, (num_entries,)."""
        upper = self._counts.count_upper(float_keys(values))
        self._sums += torch.bincount(upper, weights=values.double(), minlength=len(self._sums))

    def ask(self, ranks: Sequence[int]) -> None:
        """Between the passes: the numbers of largest values that will be asked for."""
        self._counts.ask(ranks)

    def second_pass(self, values: Tensor) -> None:
        """Feed the same piece again."""
        self._counts.count_lower(float_keys(values))

    def cut(self, rank: int) -> Cut:
        """Which values are the ``rank`` largest."""
        return self._counts.cut(rank)

    def held(self, rank: int) -> float | None:
        """The fraction of the sum that the ``rank`` largest values hold; None of a sum of 0."""
        total = float(self._sums.sum())
        if total == 0:
            return None
        if rank == 0:
            return 0.0
        cut = self.cut(rank)
        upper, lower = cut.key >> 16, cut.key & (_LOWER - 1)
        within = torch.arange(lower + 1, _LOWER)
        values = key_values((upper << 16) | within).double()
        counts = self._counts.lower_of(upper)[lower + 1 :]
        present = counts > 0
        held = float(self._sums[upper + 1 :].sum())
        held += float((counts[present] * values[present]).sum())
        held += cut.quota * float(key_values(torch.tensor([cut.key]))[0])
        return min(1.0, held / total)
