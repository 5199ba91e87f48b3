"""Mastery levels (paper section 2)."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.mastery import NUM_LEVELS, level_of

PAPER = 21 * 10  # completions of a fact


@pytest.mark.parametrize(
    ("num_hits", "level"),
    # R = hits / 210; 210 / 4 = 52.5, so level 1 ends with 52 hits, level 2 with 105 …
    [(0, 0), (1, 1), (52, 1), (53, 2), (105, 2), (106, 3), (157, 3), (158, 4), (210, 4)],
)
def test_the_papers_210_completions(num_hits: int, level: int) -> None:
    assert level_of(num_hits, PAPER) == level


@pytest.mark.parametrize(
    ("num_hits", "num_completions", "level"),
    [(1, 4, 1), (2, 4, 2), (3, 4, 3), (4, 4, 4), (2, 8, 1), (3, 8, 2), (0, 1, 0), (1, 1, 4)],
)
def test_a_boundary_belongs_to_the_level_below(
    num_hits: int, num_completions: int, level: int
) -> None:
    assert level_of(num_hits, num_completions) == level


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_levels_are_the_papers_intervals(counts: tuple[int, int]) -> None:
    level = level_of(*counts)
    mastery = Fraction(*counts)
    assert 0 <= level < NUM_LEVELS
    if level == 0:
        assert mastery == 0
    else:
        assert Fraction(level - 1, 4) < mastery <= Fraction(level, 4)
    assert level == math.ceil(4 * mastery)


@pytest.mark.parametrize(("num_hits", "num_completions"), [(0, 0), (1, 0), (-1, 4), (5, 4)])
def test_refused_counts(num_hits: int, num_completions: int) -> None:
    with pytest.raises(ValueError, match="give no level"):
        level_of(num_hits, num_completions)
