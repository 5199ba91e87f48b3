"""Intervals over facts and training sets: by hand, against references, and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sftlens.report.inference import Contrast, infer, turnover
from sftlens.scoring import mean_of_levels

ONE_LEVEL = np.zeros(400, dtype=np.int64)


def test_the_value_is_the_sum_of_means_of_levels() -> None:
    levels = np.array([0, 0, 0, 0, 4, 4])
    first = np.array([[1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 1, 0]], dtype=np.float32)
    second = np.array([[-1, 0, 0, 0, 0, 0]], dtype=np.float32)
    found = infer([Contrast((first, second), levels)], num_resamples=99)[0]
    # Level 0: 1/4 and 2/4, then -1/4; level 4: 1 and 1/2, then 0.
    assert found.estimate.value == pytest.approx((3 / 8 + 3 / 4) / 2 - 1 / 8)
    assert (found.num_facts, found.num_training_sets) == (6, 1)


def test_one_training_set_is_the_bootstrap_over_facts() -> None:
    rng = np.random.default_rng(0)
    levels = np.repeat([0, 1, 4], [200, 150, 100])
    correct = rng.random((1, 450)) < 0.2 + 0.15 * levels
    found = infer([Contrast((correct.astype(np.float32),), levels, lowest=0.0)])[0]
    assert found.estimate == pytest.approx(mean_of_levels(correct, levels), abs=0.003)
    assert found.num_training_sets == 1


def test_where_training_sets_dominate_it_is_students() -> None:
    """Every fact has the same value, so that nothing but the training sets spreads."""
    effects = np.array([0.31, 0.18, 0.22, 0.27])
    block = np.repeat(effects[:, None], 400, axis=1)
    found = infer([Contrast((block,), ONE_LEVEL, lowest=None, highest=None)])[0]
    reference = stats.ttest_1samp(effects, 0)
    interval = reference.confidence_interval(0.95)
    assert found.estimate == pytest.approx((effects.mean(), *interval), abs=1e-4)
    assert found.p(0) == pytest.approx(reference.pvalue, rel=0.05)
    assert found.p(effects.mean()) == pytest.approx(1, abs=0.001)


def test_strata_have_welchs_degrees_of_freedom() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.2, 0.1, 5), rng.normal(0.1, 0.02, 3)
    blocks = tuple(np.repeat(e[:, None], 50, axis=1) for e in (first, -second))
    found = infer([Contrast(blocks, np.zeros(50, int), lowest=None, highest=None)])[0]
    reference = stats.ttest_ind(first, second, equal_var=False)
    assert found.estimate[1:] == pytest.approx(reference.confidence_interval(0.95), abs=1e-3)


def covered(num_sets: int, num_strata: int, spread: float, num_trials: int = 200) -> float:
    """How often the interval of no effect covers 0; training sets and answers are random."""
    levels = np.repeat(np.arange(5), 30)
    rng = np.random.default_rng([num_sets, num_strata, int(100 * spread)])
    hits = 0
    for trial in range(num_trials):
        chance = np.clip(rng.normal(0.5, 0.1, len(levels)), 0.1, 0.9)
        strata = []
        for _ in range(num_strata):
            shift = rng.normal(0, spread, (num_sets, 1))
            first = rng.random((num_sets, len(levels))) < chance + shift
            second = rng.random((num_sets, len(levels))) < chance
            strata.append((first.astype(float) - second) / num_strata)
        found = infer([Contrast(tuple(strata), levels)], num_resamples=399, seed=trial)[0]
        hits += found.estimate.low <= 0 <= found.estimate.high
    return hits / num_trials


@pytest.mark.parametrize(
    ("num_sets", "num_strata", "spread"), [(1, 1, 0.0), (3, 1, 0.1), (5, 1, 0.05), (3, 5, 0.05)]
)
def test_the_interval_covers(num_sets: int, num_strata: int, spread: float) -> None:
    assert 0.91 <= covered(num_sets, num_strata, spread) <= 0.995


def test_one_training_set_covers_facts_only() -> None:
    """With a spread over training sets that one of them cannot show, the interval is too narrow."""
    assert covered(1, 1, 0.1) < 0.8 < covered(3, 1, 0.1)


def test_answers_alone_do_not_count_twice() -> None:
    """Without a spread over training sets, pooled conditions give the interval over facts."""
    rng = np.random.default_rng(3)
    blocks = tuple(
        (rng.random((5, 400)) < 0.5).astype(float) / 5 - (rng.random((5, 400)) < 0.5) / 5
        for _ in range(5)
    )
    found = infer([Contrast(blocks, ONE_LEVEL)])[0]
    width = found.estimate.high - found.estimate.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(2 * 0.25 / (25 * 400)), rel=0.35)


def test_what_never_differs_is_not_certain() -> None:
    none = np.zeros((1, 20))
    few = infer([Contrast((none,), np.zeros(20, int))])[0]
    many = infer([Contrast((np.zeros((1, 2000)),), np.zeros(2000, int))])[0]
    half = 1.96 * np.sqrt(2) / 22
    assert few.estimate == pytest.approx((0, -half, half), abs=0.001)
    assert many.estimate.high < few.estimate.high / 50
    assert few.p() == pytest.approx(1, abs=0.01)
    one = infer([Contrast((np.ones((1, 1)),), np.zeros(1, int))])[0]
    assert one.estimate.value == 1
    assert one.estimate.low < 0.2  # all of one fact is little
    assert one.estimate.high == 1  # a difference has bounds


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(3, 40))
def test_laws(seed: int, num_sets: int, num_facts: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.integers(0, 3, num_facts))
    block = rng.integers(-1, 2, (num_sets, num_facts)).astype(float)
    ours, mirrored, shuffled = infer(
        [
            Contrast((block,), levels),
            Contrast((-block,), levels),
            Contrast((block[rng.permutation(num_sets)],), levels),
        ],
        num_resamples=199,
    )
    value, low, high = ours.estimate
    assert -1 <= low <= high <= 1
    assert mirrored.estimate.value == pytest.approx(-value)
    assert mirrored.num_facts == num_facts
    assert shuffled.estimate == pytest.approx(ours.estimate, abs=1e-5)
    alone = infer([Contrast((block,), levels)], num_resamples=199)[0]
    assert alone.estimate == pytest.approx(ours.estimate, abs=1e-5)
    assert 2 / 200 <= ours.p(0.1) <= 1
    twice = infer([Contrast((2 * block,), levels, -2, 2)], num_resamples=199)[0]
    assert twice.estimate == pytest.approx([2 * part for part in ours.estimate], abs=1e-4)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by resampling in chunks; the spread stays what it is."""
    block = (np.arange(300) % 3 - 1).astype(float)[None]
    contrast = Contrast((block,), np.zeros(300, int))
    whole = infer([contrast])[0].estimate
    monkeypatch.setattr("sftlens.report.inference._crossed._CHUNK_CELLS", 7 * 300)
    assert infer([contrast])[0].estimate == pytest.approx(whole, abs=0.004)


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (Contrast((np.zeros((0, 3)),), np.zeros(3, int)), "no training sets"),
        (Contrast((), np.zeros(3, int)), "no training sets"),
        (Contrast((np.zeros((2, 0)),), np.zeros(0, int)), "no facts"),
        (Contrast((np.zeros((2, 4)),), np.zeros(3, int)), "3 levels but"),
    ],
)
def test_nothing_to_average_is_an_error(contrast: Contrast, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        infer([contrast])


def test_turnover_by_hand() -> None:
    reference = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0, 0]], dtype=bool)
    other = np.array([[0, 0, 1, 1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    repeat = np.array([[0, 1, 1, 1, 0, 0, 0, 0, 0, 0]], dtype=bool)
    found = turnover(reference, other, repeat, num_resamples=499)
    values = [None if part is None else part.value for part in found]
    assert values == pytest.approx([0.2, 0.1, -0.1, 0.1, 0.0, 0.1, 0.1])
    assert all(part.low <= part.value <= part.high for part in found if part)
    assert turnover(reference, other, num_resamples=499)[3:] == (None, None, None, None)
    with pytest.raises(ValueError, match="different facts"):
        turnover(reference, other[:, 1:])


def test_noise_is_not_turnover() -> None:
    """Two scorings that flip answers alike lose many facts, and none over the floor."""
    rng = np.random.default_rng(4)
    reference = rng.random((3, 600)) < 0.5
    other, repeat = (reference ^ (rng.random((3, 600)) < 0.1) for _ in range(2))
    found = turnover(reference, other, repeat)
    assert found.lost.low > 0.02
    assert found.lost_over_floor is not None
    assert found.lost_over_floor.low < 0 < found.lost_over_floor.high
    worse = turnover(reference, reference & (rng.random((3, 600)) < 0.7), repeat)
    assert worse.lost_over_floor is not None
    assert worse.lost_over_floor.low > 0.02
