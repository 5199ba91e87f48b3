"""Means over mastery levels of several training seeds, and their 95 % intervals."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.intervals import Estimate

_MIN_FACTS = 3  # of a level, below which resampling cannot tell its spread


def mean_of_levels(
    correct: NDArray[np.bool_],
    levels: NDArray[np.integer],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The mean over mastery levels of the accuracy, over several training seeds.

    The interval is a percentile bootstrap that resamples seeds, and facts within each level; the
    same facts for all seeds, since every seed's model is asked the same questions. A level with
    one or two facts tells nothing of its spread: the interval then allows it any value.

    Args:
        correct: whether the answer was right, (num_seeds, num_facts).
        levels: the mastery level of each fact, (num_facts,). Levels without a fact do not enter.
        num_resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: when there are no facts or no seeds.
    """
    values = np.asarray(correct, dtype=np.float64)
    return _bootstrap(values, levels, num_resamples, seed, lowest=0.0)


def difference(
    correct: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    levels: NDArray[np.integer],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """How much the mean of levels of ``correct`` exceeds that of ``reference``, paired.

    Both were measured over the same facts and training seeds; arguments as in
    :func:`mean_of_levels`.

    Raises:
        ValueError: when the shapes differ, or there are no facts or seeds.
    """
    if correct.shape != reference.shape:
        raise ValueError(f"shapes differ: {correct.shape} and {reference.shape}")
    paired = correct.astype(np.float64) - reference.astype(np.float64)
    return _bootstrap(paired, levels, num_resamples, seed, lowest=-1.0)


def _bootstrap(
    values: NDArray[np.float64],
    levels: NDArray[np.integer],
    num_resamples: int,
    seed: int,
    *,
    lowest: float,
) -> Estimate:
    num_seeds, num_facts = values.shape
    if num_seeds < 1 or num_facts < 1:
        raise ValueError("no facts or no seeds to average over")
    if levels.shape != (num_facts,):
        raise ValueError(f"{num_facts} facts but {levels.shape} levels")
    resamples = _resamples(levels.astype(np.int64).tobytes(), num_seeds, num_resamples, seed)
    means = (resamples.facts @ values.T * resamples.seeds).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    mean = values.mean(axis=0)
    for level, count in zip(*np.unique(levels, return_counts=True), strict=True):
        if count < _MIN_FACTS:
            members = levels == level
            part = float(mean[members] @ resamples.weights[members])
            weight = float(resamples.weights[members].sum())
            low, high = low - part + weight * lowest, high - part + weight
    value, low, high = np.clip([float(mean @ resamples.weights), low, high], lowest, 1.0)
    return Estimate(float(value), float(low), float(high))


class _Resamples(NamedTuple):
    weights: NDArray[np.float64]  # (num_facts,) of the mean of levels
    facts: NDArray[np.float64]  # (num_resamples, num_facts), the same resampled
    seeds: NDArray[np.float64]  # (num_resamples, num_seeds)


@lru_cache(maxsize=8)
def _resamples(levels: bytes, num_seeds: int, num_resamples: int, seed: int) -> _Resamples:
    """The draws of a bootstrap; many estimates over the same facts share them."""
    of_fact = np.frombuffer(levels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    present = np.unique(of_fact)
    weights = np.empty(len(of_fact))
    facts = np.empty((num_resamples, len(of_fact)))
    for level in present:
        members = np.flatnonzero(of_fact == level)
        weights[members] = 1 / (len(members) * len(present))
        facts[:, members] = _draw_counts(rng, len(members), num_resamples) * weights[members]
    return _Resamples(weights, facts, _draw_counts(rng, num_seeds, num_resamples) / num_seeds)


def _draw_counts(rng: np.random.Generator, size: int, num_resamples: int) -> NDArray[np.integer]:
    """How often each of ``size`` items is drawn in ``size`` draws, (num_resamples, size)."""
    draws = rng.integers(size, size=(num_resamples, size))
    draws += np.arange(num_resamples)[:, None] * size
    return np.bincount(draws.ravel(), minlength=num_resamples * size).reshape(-1, size)
