"""How much of a sum its largest terms hold (paper section 6, Table 3).

Sums are exact: the values of one place of the counts, whose upper 16 bits are the same, differ in
the lower bits of their mantissa alone, so that their sum is that of integers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sftlens.weights._kernels import NUM_UPPER, Counts
from sftlens.weights._keys import key_values
from sftlens.weights._radix import KeyCounts, key_of

_MANTISSA_BITS = 23
_PLACES = np.arange(NUM_UPPER // 2)  # of values that are not negative, by exponent and 7 bits


def sum_by_place(upper: Counts) -> NDArray[np.float64]:
    """The sums of non-negative values by their upper bits, (32768,).

    Args:
        upper: counts of their keys, (65536, 2), as :meth:`Kernels.count_upper` adds them up.
    """
    counts, lower_sums = upper[NUM_UPPER // 2 :].T
    exponent = _PLACES >> 7
    mantissa = ((_PLACES & 127) << 16) + np.where(exponent > 0, 1 << _MANTISSA_BITS, 0)
    units = (counts * mantissa + lower_sums).astype(np.float64)
    sums: NDArray[np.float64] = np.ldexp(units, np.maximum(exponent, 1) - 127 - _MANTISSA_BITS)
    return sums


def total(upper: Counts) -> float:
    """The sum of the non-negative values counted."""
    sums = sum_by_place(upper)
    return math.fsum(sums[sums > 0].tolist())


def held(counts: KeyCounts, rank: int) -> float | None:
    """The fraction of the sum that the ``rank`` largest values hold; None of a sum of 0.

    Equal values hold equal parts, so that it does not matter which of them count as the largest.
    """
    sums = sum_by_place(counts.upper)
    whole = math.fsum(sums.tolist())
    if whole == 0:
        return None
    if rank == 0:
        return 0.0
    cut = counts.cut(rank)
    upper, lower = divmod(cut.key, 1 << 16)
    of_lower = counts.lower_of(upper + NUM_UPPER // 2)
    above = np.flatnonzero(of_lower[lower + 1 :]) + lower + 1
    first = key_of(upper + NUM_UPPER // 2, 0)
    parts = sums[upper + 1 :].tolist()
    parts.append(float(of_lower[above] @ key_values(first + above).astype(np.float64)))
    parts.append(cut.quota * float(key_values(np.array([cut.key]))[0]))
    return min(1.0, math.fsum(parts) / whole)
