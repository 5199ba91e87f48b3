"""Intervals and correlations of numbers that are not right-or-wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sftlens.scoring import Estimate


class Correlation(NamedTuple):
    """Spearman's rank correlation with its two-sided p value and 95 % interval."""

    rho: float
    p: float
    low: float
    high: float
    num_points: int


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> Correlation | None:
    """Rank correlation of paired numbers; None below five points or where one side is constant.

    The interval is Fisher's with the variance of Bonett and Wright (2000), (1 + rho²/2) / (n - 3).
    """
    if len(x) < 5 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rho, p = (float(part) for part in stats.spearmanr(x, y))
    half = float(stats.norm.ppf(0.975)) * np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    centre = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh([centre - half, centre + half])
    return Correlation(rho, p, float(low), float(high), len(x))


def mean_with_interval(values: NDArray[np.float64]) -> Estimate | None:
    """The mean with Student's 95 % interval; None below two values."""
    if len(values) < 2:
        return None
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half)


def mean_over_seeds_and_facts(
    values: NDArray[np.float64], *, num_resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The mean of a (num_seeds, num_facts) block; percentile bootstrap over seeds and over facts.

    Raises:
        ValueError: when the block is empty.
    """
    num_seeds, num_facts = values.shape
    if not values.size:
        raise ValueError("no facts or no seeds to average over")
    rng = np.random.default_rng(seed)
    facts = rng.multinomial(num_facts, np.full(num_facts, 1 / num_facts), size=num_resamples)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)
    means = ((seeds / num_seeds) @ values * (facts / num_facts)).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))
