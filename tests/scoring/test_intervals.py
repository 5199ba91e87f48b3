"""Intervals: against scipy, naive references, and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from sftlens.scoring import (
    Estimate,
    difference,
    mean_of_levels,
    mean_of_proportions,
    proportion,
)

LEVELS = np.repeat([0, 1, 3, 4], [40, 30, 25, 20])


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_against_scipy(counts: tuple[int, int]) -> None:
    found = proportion(*counts)
    reference = stats.binomtest(*counts).proportion_ci(method="wilson")
    assert found.value == counts[0] / counts[1]
    assert found.low == pytest.approx(reference.low, abs=1e-12)
    assert found.high == pytest.approx(reference.high, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=5))
@example([(0, 1)] * 5)
@example([(0, 6)])
@example([(6, 6), (7, 7), (1, 1)])
def test_no_interval_leaves_zero_and_one(counts: list[tuple[int, int]]) -> None:
    parts = [proportion(min(right, total), total) for right, total in counts]
    for found in (*parts, mean_of_proportions(parts)):
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert str(found.low) != "-0.0"
    assert all((part.low == 0) is (part.value == 0) for part in parts)
    assert all((part.high == 1) is (part.value == 1) for part in parts)
    correct = np.array([[right > 0 for right, _ in counts]])
    levels = np.arange(len(counts))
    found = mean_of_levels(correct, levels, num_resamples=50)
    assert 0 <= found.low <= found.high <= 1
    assert 0 <= found.value <= 1


def test_mean_of_proportions_by_hand() -> None:
    parts = [Estimate(0.2, 0.1, 0.5), Estimate(0.6, 0.4, 0.7)]
    # The squares of the parts' own distances to their limits add up (MOVER).
    assert mean_of_proportions(parts) == pytest.approx(
        (0.4, 0.4 - np.sqrt(0.1**2 + 0.2**2) / 2, 0.4 + np.sqrt(0.3**2 + 0.1**2) / 2)
    )
    assert mean_of_proportions(parts[:1]) == pytest.approx(parts[0])


def test_mean_of_proportions_covers() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0.02, 0.3, 0.97])
    sizes = [30, 60, 40]
    covered = 0
    for _ in range(1000):
        found = mean_of_proportions(
            [proportion(k, n) for k, n in zip(rng.binomial(sizes, true), sizes, strict=True)]
        )
        covered += found.low <= true.mean() <= found.high
    assert 940 <= covered <= 990


def test_nothing_to_average_is_an_error() -> None:
    none = np.zeros((1, 0), dtype=bool)
    with pytest.raises(ValueError, match="no facts"):
        proportion(0, 0)
    with pytest.raises(ValueError, match="no proportions"):
        mean_of_proportions([])
    with pytest.raises(ValueError, match="no facts or no seeds"):
        mean_of_levels(none, np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="3 facts but"):
        mean_of_levels(np.ones((1, 3), dtype=bool), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="shapes differ"):
        difference(np.ones((1, 3), dtype=bool), np.ones((2, 3), dtype=bool), np.zeros(3, dtype=int))


def test_mean_of_levels_by_hand() -> None:
    levels = np.array([0, 0, 0, 0, 4, 4])
    correct = np.array([[1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 1, 0]], dtype=bool)
    # Level 0: 1/4 and 2/4; level 4: 1 and 1/2.
    assert mean_of_levels(correct, levels).value == pytest.approx((3 / 8 + 3 / 4) / 2)


def naive_bootstrap(
    values: np.ndarray, levels: np.ndarray, num_resamples: int
) -> tuple[float, float]:
    """Resamples seeds, and facts within each level, one resample at a time."""
    rng = np.random.default_rng(7)
    means = []
    for _ in range(num_resamples):
        seeds = rng.integers(len(values), size=len(values))
        means.append(
            np.mean(
                [
                    values[seeds][:, rng.choice(members, size=len(members))].mean()
                    for members in (np.flatnonzero(levels == level) for level in np.unique(levels))
                ]
            )
        )
    return tuple(np.quantile(means, [0.025, 0.975]))


def test_the_bootstrap_is_the_naive_one() -> None:
    rng = np.random.default_rng(1)
    correct = rng.random((3, len(LEVELS))) < 0.2 + 0.15 * LEVELS
    found = mean_of_levels(correct, LEVELS, num_resamples=8000)
    low, high = naive_bootstrap(correct.astype(float), LEVELS, 8000)
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)
    assert found == mean_of_levels(correct, LEVELS, num_resamples=8000)


def test_the_bootstrap_covers() -> None:
    """Facts are drawn, each with a chance of its own that all training seeds share."""
    rng = np.random.default_rng(2)
    chance_of = {0: 0.1, 1: 0.4, 3: 0.6, 4: 0.9}
    mean = np.array([chance_of[level] for level in LEVELS])
    covered = paired_covered = 0
    for trial in range(300):
        chance = rng.beta(4 * mean, 4 * (1 - mean))
        first = rng.random((5, len(LEVELS))) < chance
        second = rng.random((5, len(LEVELS))) < 0.8 * chance
        found = mean_of_levels(first, LEVELS, num_resamples=500, seed=trial)
        covered += found.low <= 0.5 <= found.high
        paired = difference(first, second, LEVELS, num_resamples=500, seed=trial)
        paired_covered += paired.low <= 0.1 <= paired.high
    assert covered >= 0.92 * 300
    assert paired_covered >= 0.92 * 300


def test_a_paired_difference_uses_the_pairs() -> None:
    rng = np.random.default_rng(3)
    reference = rng.random((2, len(LEVELS))) < 0.5
    better = reference.copy()
    better[:, ::10] = True
    paired = difference(better, reference, LEVELS)
    one, other = mean_of_levels(better, LEVELS), mean_of_levels(reference, LEVELS)
    assert paired.value == pytest.approx(one.value - other.value)
    assert 0 < paired.low < paired.value < paired.high
    assert one.low < other.high  # which the two intervals alone would not have told
    same = difference(reference, reference, LEVELS)
    assert same == Estimate(0, 0, 0)
    turned = difference(reference, better, LEVELS)
    assert turned.value == pytest.approx(-paired.value)


def test_a_level_with_one_fact_decides_nothing() -> None:
    levels = np.repeat([0, 1, 2, 3, 4], [100, 100, 100, 100, 1])
    reference = np.zeros((3, 401), dtype=bool)
    correct = reference.copy()
    correct[:, 400] = True
    gain = difference(correct, reference, levels)
    assert gain.value == pytest.approx(0.2)
    assert gain.low == pytest.approx(-0.2)
    assert gain.high == pytest.approx(0.2)
    mean = mean_of_levels(correct, levels)
    assert (mean.low, mean.high) == pytest.approx((0.0, 0.2))
