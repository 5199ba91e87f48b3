"""Wilson's interval of a proportion, and the interval of a mean of proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


class Estimate(NamedTuple):
    """A value with its 95 % interval; all three are fractions."""

    value: float
    low: float
    high: float

    def within(self, lowest: float, highest: float) -> Estimate:
        """The same with no part outside of the values that it can take."""
        return Estimate(*(min(max(part, lowest), highest) for part in self))


def wilson(rate: float, number: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a rate, within 0 and 1.

    It begins at 0 exactly where the rate is 0, and ends at 1 exactly where it is 1; rounding
    would leave a rest of 1e-17 on either side.

    Args:
        rate: in [0, 1].
        number: of independent trials; no whole number where it is an effective one.
    """
    square = Z95**2
    center = (rate + square / (2 * number)) / (1 + square / number)
    spread = rate * (1 - rate) / number + square / (4 * number**2)
    half = Z95 * math.sqrt(spread) / (1 + square / number)
    return (
        0.0 if rate == 0 else max(0.0, center - half),
        1.0 if rate == 1 else min(1.0, center + half),
    )


def proportion(num_correct: int, num_facts: int) -> Estimate:
    """A share of facts with its Wilson score interval.

    Raises:
        ValueError: when there is no fact to take a share of.
    """
    if num_facts < 1:
        raise ValueError("a proportion of no facts is undefined")
    value = num_correct / num_facts
    return Estimate(value, *wilson(value, num_facts))


def mean_of_proportions(parts: Sequence[Estimate]) -> Estimate:
    """The plain mean of independent proportions; the headline accuracy (paper section 4).

    The interval combines the parts' own limits (MOVER: method of variance estimates recovery), so
    that parts at 0 or 1 do not collapse it. It lies within 0 and 1.

    Raises:
        ValueError: when there are no parts.
    """
    if not parts:
        raise ValueError("a mean of no proportions is undefined")
    value = sum(part.value for part in parts) / len(parts)
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in parts)) / len(parts)
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in parts)) / len(parts)
    return Estimate(value, max(0.0, value - below), min(1.0, value + above))
