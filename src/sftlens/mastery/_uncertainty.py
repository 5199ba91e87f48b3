"""How sure an R is, and the level that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sftlens.intervals import wilson
from sftlens.mastery._levels import level_of_mastery


class Uncertainty(NamedTuple):
    """Of R as the mean over the templates used: what other samples of them could have given.

    Attributes:
        standard_error: of R, a fraction.
        low: of R's 95 % interval.
        high: of R's 95 % interval.
    """

    standard_error: float
    low: float
    high: float

    @property
    def is_uncertain(self) -> bool:
        """Whether the ends of the interval are of different levels.

        So it is for every fact without a hit: R can be small and not 0.
        """
        return level_of_mastery(self.low) != level_of_mastery(self.high)


def uncertainty(counts: Sequence[tuple[int, int]]) -> Uncertainty:
    """The standard error of R and its 95 % interval.

    Samples are independent given their template, so that the variance is that of a stratified
    sample: the sum over templates of (n_t / N)² p_t (1 − p_t) / n_t. Of the few samples of a
    template, p_t is estimated with one pseudo-sample that hits with the fact's own rate, since ten
    of ten do not show that the eleventh hits. The interval is Wilson's for as many independent
    completions as have that variance (Korn and Graubard 1998).

    Args:
        counts: hits and completions of each template.
    """
    total = sum(number for _, number in counts)
    mastery = sum(hits for hits, _ in counts) / total
    variance = 0.0
    for hits, number in counts:
        rate = (hits + mastery) / (number + 1)
        variance += (number / total) ** 2 * rate * (1 - rate) / number
    effective = mastery * (1 - mastery) / variance if variance > 0 else float(total)
    low, high = wilson(mastery, effective)
    return Uncertainty(math.sqrt(variance), low, high)
