"""How sure an R is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.mastery import Category, category_of, level_of, uncertainty
from sftlens.mastery._levels import level_of_mastery

counts = st.lists(
    st.integers(1, 12).flatmap(lambda number: st.tuples(st.integers(0, number), st.just(number))),
    min_size=1,
    max_size=25,
)


@given(counts)
def test_the_interval_holds_r(given: list[tuple[int, int]]) -> None:
    hits, total = sum(hit for hit, _ in given), sum(number for _, number in given)
    sure = uncertainty(given)
    assert 0 <= sure.low <= hits / total <= sure.high <= 1
    assert 0 <= sure.standard_error <= 0.5
    if not sure.is_uncertain:
        assert level_of_mastery(sure.low) == level_of(hits, total)


def test_of_one_template_it_is_a_binomial() -> None:
    [error, low, high] = uncertainty([(50, 100)])
    assert error == pytest.approx(math.sqrt(0.25 / 100))
    # Wilson's interval of 50 of 100.
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_without_a_hit() -> None:
    sure = uncertainty([(0, 10)] * 21)
    assert (sure.standard_error, sure.low) == (0, 0)
    assert sure.high == pytest.approx(1.96**2 / (210 + 1.96**2), rel=1e-3)
    assert sure.is_uncertain


def test_templates_that_differ_leave_less_open() -> None:
    mixed = uncertainty([(0, 10)] * 10 + [(10, 10)] * 10)
    alike = uncertainty([(5, 10)] * 20)
    assert mixed.standard_error < 0.6 * alike.standard_error


@pytest.mark.parametrize("spread", [0.2, 1.0, 5.0])
def test_the_interval_covers_what_it_says(spread: float) -> None:
    """Of simulated facts, whose templates differ, at least 95 % have their true R inside."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(1500):
        center = rng.uniform()
        rates = rng.beta(center / spread + 1e-3, (1 - center) / spread + 1e-3, size=21)
        given = [(int(rng.binomial(10, rate)), 10) for rate in rates]
        sure = uncertainty(given)
        covered.append(sure.low <= rates.mean() <= sure.high)
    assert np.mean(covered) > 0.94


@pytest.mark.parametrize(
    ("greedy_hits", "hits", "category"),
    [(4, 0, "HighlyKnown"), (1, 0, "MaybeKnown"), (0, 1, "WeaklyKnown"), (0, 0, "Unknown")],
)
def test_categories(greedy_hits: int, hits: int, category: Category) -> None:
    assert category_of(greedy_hits, 4, hits) == category
