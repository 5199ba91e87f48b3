"""Candidates, the course of a search, and the choice, on made-up answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.advice._advice import Graded, dropped, rough_levels, unpiloted
from sftlens.advice._candidates import Candidate, grid, levels_text, recipe
from sftlens.advice._decide import choose, larger_sizes, rivals
from sftlens.advice._measure import Answers, Measure
from sftlens.advice._search import FINALISTS, MAX_SEEDS, num_candidates, search
from sftlens.facts import Fact
from tiny_world import make_fact

SIZES = (60, 120, 240, 480, 960)

counts = st.lists(st.integers(0, 1500), min_size=5, max_size=5).filter(any)


@given(counts, st.integers(4, 100))
def test_candidates_can_be_trained(available: list[int], budget: int) -> None:
    limit = num_candidates(budget)
    found = grid(available, SIZES, limit)
    assert 1 <= len(found) <= limit
    assert len(set(found)) == len(found)
    for one in found:
        assert all(available[level] for level in one.levels)
        assert 1 <= one.size <= sum(available[level] for level in one.levels)
    papers = recipe(available)
    assert papers is None or papers in found


def test_with_enough_facts_and_runs_every_level_has_its_curve() -> None:
    found = grid([1000] * 5, SIZES, 40)
    for level in range(5):
        assert [one.size for one in found if one.levels == (level,)] == list(SIZES)
    assert Candidate((2, 3, 4), 960) in found


class Trains:
    """Counts runs."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.runs: dict[Candidate, list[int]] = {}

    @property
    def left(self) -> int:
        return self.budget - sum(map(len, self.runs.values()))

    def train(self, candidates: Sequence[Candidate]) -> None:
        for one in candidates:
            seeds = self.runs.setdefault(one, [])
            seeds.append(len(seeds))
        assert self.left >= 0


@given(st.integers(4, 100))
def test_the_better_ones_get_more_runs(budget: int) -> None:
    candidates = [Candidate((level,), 10 * n) for n in range(1, 30) for level in range(5)]
    candidates = candidates[: num_candidates(budget)]
    worth = {one: 7 * n % 101 for n, one in enumerate(candidates)}
    best = max(candidates, key=worth.__getitem__)
    pilots = Trains(budget)
    search(pilots, candidates, worth.__getitem__, lambda: [best, candidates[0]])
    assert set(pilots.runs) == set(candidates)
    assert pilots.left == 0 or min(len(pilots.runs[o]) for o in (best, candidates[0])) >= MAX_SEEDS
    order = sorted(candidates, key=worth.__getitem__)
    before = [len(pilots.runs[one]) for one in order if one not in (best, candidates[0])]
    assert before == sorted(before)
    assert len(candidates) <= FINALISTS or len(pilots.runs[best]) >= 2


def made_facts() -> tuple[list[Fact], dict[str, int]]:
    facts = [
        make_fact(f"{domain}{n}", domain=domain, split="validation")
        for domain in ("in", "out")
        for n in range(200)
    ]
    return facts, {fact.fact_id: n % 5 for n, fact in enumerate(facts)}


FACTS, LEVELS = made_facts()
MEASURE = Measure(FACTS, LEVELS, seed=0)
SMALL, MIDDLE, LARGE, OTHER = (
    Candidate((2,), 60),
    Candidate((2,), 240),
    Candidate((2,), 960),
    Candidate((0,), 240),
)


def answers(rates: Mapping[Candidate, float], num_seeds: int = 4) -> dict[Candidate, Answers]:
    """Right answers at these rates, alike over facts as models of one base are."""
    hard = np.random.default_rng(0).random(len(FACTS))
    noise = np.random.default_rng(1)
    return {
        one: np.array(
            [(hard + 0.03 * noise.standard_normal(len(FACTS)) < rate) for _ in range(num_seeds)],
            dtype=np.float64,
        )
        for one, rate in rates.items()
    }


BASE = answers({SMALL: 0.2}, 1)[SMALL]


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({SMALL: 0.5, MIDDLE: 0.5, LARGE: 0.5}, SMALL),
        ({SMALL: 0.4, MIDDLE: 0.5, LARGE: 0.5}, MIDDLE),
        ({SMALL: 0.4, MIDDLE: 0.5, LARGE: 0.6}, LARGE),
        ({SMALL: 0.3, MIDDLE: 0.6, LARGE: 0.4}, MIDDLE),
    ],
)
def test_the_smallest_that_is_as_good_as_the_best(
    rates: dict[Candidate, float], chosen: Candidate
) -> None:
    found = choose(answers(rates), BASE, MEASURE, recipe=MIDDLE, max_loss=0.02)
    assert found.chosen == chosen
    assert found.is_worth_it
    assert (found.over_recipe is None) == (chosen == MIDDLE)


def test_nothing_better_than_the_base() -> None:
    found = choose(answers({SMALL: 0.2, OTHER: 0.1}), BASE, MEASURE, recipe=None, max_loss=0.01)
    assert not found.is_worth_it


def test_a_single_lucky_run_is_not_chosen() -> None:
    told = answers({SMALL: 0.5, MIDDLE: 0.5, LARGE: 0.5, OTHER: 0.9})
    told[OTHER] = told[OTHER][:1]
    found = choose(told, BASE, MEASURE, recipe=MIDDLE, max_loss=0.02)
    assert OTHER not in (found.chosen, found.best)


def test_what_more_facts_cost_and_what_is_left_out() -> None:
    told = answers({SMALL: 0.5, MIDDLE: 0.6, LARGE: 0.4, OTHER: 0.3})
    [curve] = larger_sizes(told, MEASURE)
    assert (curve.smaller, curve.larger) == (MIDDLE, LARGE)
    assert curve.gain.high < 0
    assert curve.gain.value == pytest.approx(-0.2, abs=0.07)
    [(level, rival)] = rivals(MIDDLE, told, MEASURE).items()
    assert (level, rival.candidate) == (0, OTHER)
    assert rival.behind.low > 0


def test_every_level_of_both_domains_weighs_the_same() -> None:
    """Also where one has few facts; a level with one fact does not count."""
    facts = [make_fact(str(n), split="validation") for n in range(14)]
    levels = {str(n): 0 if n < 10 else 4 if n < 13 else 2 for n in range(14)}
    measure = Measure(facts, levels, seed=0)
    own = np.array([[1.0] * 10 + [0.0] * 3 + [1.0]])
    assert measure.all.mean(own) == 0.5
    assert measure.outside is None
    assert measure.known is not None
    assert measure.known.mean(own) == 0
    [found] = measure.estimate([own])
    assert found.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        ([9, 9, 300, 9, 9], Candidate((2,), 240)),
        ([900, 300, 200, 100, 9], Candidate((2, 3), 240)),
        ([900, 300, 0, 100, 9], Candidate((1, 3), 240)),
        ([900, 9, 9, 9, 9], Candidate((1, 2, 3, 4), 36)),
        ([900, 0, 0, 0, 9], Candidate((4,), 9)),
        ([900, 0, 0, 0, 0], None),
    ],
)
def test_the_papers_choice(available: list[int], chosen: Candidate | None) -> None:
    assert unpiloted(available) == chosen


@pytest.mark.parametrize(("shares", "told"), [((0.1, 0.3), []), ((0.5, 0.1), ["30.0 %"])])
def test_rough_levels_are_told(shares: tuple[float, float], told: list[str]) -> None:
    graded = [Graded(level, 50, share, 0.5, 0.5) for level, share in enumerate((1.0, *shares))]
    found = rough_levels(Candidate((1, 2), 60), graded)
    assert [one.evidence.split(" of ")[0] for one in found] == told


def test_levels_in_words() -> None:
    assert [levels_text(levels) for levels in ((2,), (2, 3), (1, 2, 3), (0, 2, 4))] == [
        "level 2",
        "levels 2 and 3",
        "levels 1 to 3",
        "levels 0, 2 and 4",
    ]


def test_what_was_trained_once_is_not_called_sure() -> None:
    told = answers({SMALL: 0.5, MIDDLE: 0.6, OTHER: 0.3}) | answers({LARGE: 0.4}, 1)
    [curve] = larger_sizes(told, MEASURE)
    assert (curve.num_runs, curve.gain.high < 0) == (1, True)
    graded = [Graded(level, 500, 0.0, 0.5, 0.5) for level in (0, 2)]
    sure, once = (
        dropped(MIDDLE, graded, rivals(MIDDLE, own, MEASURE), basis="pilot")
        for own in (told, told | {OTHER: told[OTHER][:1]})
    )
    assert [one.advice for one in sure] == ["Drop: surely worse."]
    assert [one.advice for one in once] == ["Drop: worse in the one run it had."]
