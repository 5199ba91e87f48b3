"""From the p values of many claims to decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

LEVEL = 0.05
HOLDS, FAILS, UNDECIDED, NOT_MEASURED = "holds", "does not hold", "undecided", "not measured"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values (1979), in the order given; what has no p value counts for none."""
    known = [place for place, p in enumerate(p_values) if p is not None]
    known.sort(key=lambda place: p_values[place] or 0.0)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, place in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * float(p_values[place] or 0.0)))
        adjusted[place] = least
    return adjusted


def decide(
    value: float, claimed: Literal["above", "below"], threshold: float, adjusted: float | None
) -> str:
    """``holds`` or ``does not hold`` where the adjusted p value is at most 0.05.

    The side of the threshold on which the value lies tells which of the two.
    """
    if adjusted is None or adjusted > LEVEL:
        return UNDECIDED
    return HOLDS if (value > threshold) == (claimed == "above") else FAILS


def smallest_effect_p(
    values: Sequence[float], p_values: Sequence[float], threshold: float
) -> float:
    """Two-sided p value of the smallest of several effects being ``threshold``.

    That all lie above it is an intersection-union test: the largest p value, uncorrected. That one
    lies below is a union: the least p value of those below, times the number of effects.
    """
    below = [p for value, p in zip(values, p_values, strict=True) if value <= threshold]
    if not below:
        return float(np.max(p_values))
    return min(1.0, len(values) * min(below))
