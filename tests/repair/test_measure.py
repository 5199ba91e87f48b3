"""Knowledge as a mean of domains and levels, and its intervals, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest

from sftlens.facts import Fact
from sftlens.repair._measure import gain, knowledge, strata, task_accuracy
from tiny_world import make_fact

LEVELS = {"a": 0, "b": 0, "c": 0, "d": 2, "e": 2, "f": 2, "g": 2, "h": 4, "i": 0, "j": 0, "k": 0}


def facts() -> list[Fact]:
    """In domain levels 0 (three facts), 2 (four) and 4 (one); out of domain level 0 (three)."""
    return [make_fact(name, domain="out" if name in "ijk" else "in") for name in LEVELS]


VALUES = np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1], dtype=float)


def test_the_mean_of_domains_and_levels() -> None:
    of = strata(facts(), LEVELS)
    inside = (1 / 3 + 3 / 4) / 2  # the one fact of level 4 enters no mean
    assert float(VALUES @ of.weights) == pytest.approx((inside + 1 / 3) / 2)
    found = knowledge(VALUES, of)
    assert found.value == pytest.approx((inside + 1 / 3) / 2)
    assert found.low < found.value < found.high
    assert knowledge(VALUES, of.of("in")).value == pytest.approx(inside)
    assert of.weights.sum() == pytest.approx(1)


def test_the_mean_of_domains_alone() -> None:
    of = strata(facts(), None)
    assert knowledge(VALUES, of).value == pytest.approx((5 / 8 + 1 / 3) / 2)


@pytest.mark.parametrize("num_facts", range(1, len(LEVELS) + 1))
def test_the_first_facts_alone(num_facts: int) -> None:
    of = strata(facts(), LEVELS).first(num_facts)
    assert of.weights.sum() == pytest.approx(1)
    values = VALUES[:num_facts]
    assert knowledge(values, of).value == pytest.approx(float(values @ of.weights))
    assert gain(values, values, of, seed=0) == (0, 0, 0)


def test_a_first_fact_that_is_in_no_mean() -> None:
    own = [fact for fact in facts() if fact.fact_id == "h"] + facts()[:7] + facts()[8:]
    assert strata(own, LEVELS).first(1).weights.tolist() == [1]


def test_a_gain_is_paired() -> None:
    rng = np.random.default_rng(0)
    tuned = (rng.random(400) < 0.5).astype(float)
    better = np.where(rng.random(400) < 0.05, 1.0, tuned)
    of = strata([make_fact(str(n)) for n in range(400)], None)
    found = gain(better, tuned, of, seed=0)
    assert found.value == pytest.approx((better - tuned).mean())
    error = (better - tuned).std() / 20
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=error / 2)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=error / 2)
    assert found == gain(better, tuned, of, seed=0)


def test_values_between_right_and_wrong() -> None:
    found = task_accuracy(np.array([0.2, 0.4, 0.9, 0.5]), seed=0)
    assert found.value == pytest.approx(0.5)
    assert 0.2 < found.low < 0.5 < found.high < 0.9
