"""The search and the decision on invented answers: what is found, what it takes, and how often
chance is taken for a gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sftlens.repair import RepairSettings
from sftlens.repair._candidates import AS_IT_IS, BASE, Candidate, Way, whole_model
from sftlens.repair._decide import decide
from sftlens.repair._examine import Found
from sftlens.repair._measure import Strata
from sftlens.repair._search import NUM_FINALISTS, Search

NUM_FACTS = 120
GROUPS = ["layer 0", "layer 1", "outside"]
ALIKE = Strata(np.zeros(NUM_FACTS, dtype=np.int64), ("in",))


class Invented:
    """Answers facts by what ``ability`` says of a candidate, with common luck for each fact."""

    def __init__(self, ability: Callable[[Candidate], float], budget: int, seed: int = 0) -> None:
        self.ability, self.budget = ability, budget * NUM_FACTS * 2
        self.luck = np.random.default_rng(seed).random(NUM_FACTS)
        self.task: Callable[[Candidate], float] = lambda _: 1.0
        self.seen: dict[Candidate, int] = {}
        self.spent = 0

    def examine(self, candidate: Candidate, part: str, num_facts: int) -> Found:
        have = self.seen.get(candidate, 0)
        self.spent += max(0, num_facts - have)
        assert self.spent <= self.budget
        self.seen[candidate] = max(have, num_facts)
        correct = (self.luck < self.ability(candidate)).astype(float)[:num_facts]
        kept = (self.luck[::-1] < self.task(candidate)).astype(float)[:num_facts]
        return Found(correct, kept)

    def num_seen(self, candidate: Candidate) -> int:
        return self.seen.get(candidate, 0)

    def cost(self, part: str, num_facts: int) -> int:
        return num_facts

    def left(self) -> int:
        return self.budget - self.spent

    def search(self, settings: RepairSettings, groups: list[str] = GROUPS) -> Search:
        return Search(
            self,
            ALIKE,
            whole_model(settings),
            settings.shares,
            groups,
            max_task_loss=0.01,
            reserve=(NUM_FINALISTS + 1) * NUM_FACTS,
        )


SETTINGS = RepairSettings()


def peaked(candidate: Candidate) -> float:
    """Best at ``fapm 30 %`` whole-model; better still with one layer given back."""
    ability = 0.4 + 0.2 * (candidate.way == Way("fapm", 30.0))
    return ability + 0.15 * (candidate.at("layer 1") == BASE)


@pytest.mark.parametrize("budget", [3, 8, 20, 40, 200])
def test_the_budget_is_kept(budget: int) -> None:
    asked = Invented(peaked, budget)
    found = asked.search(SETTINGS).run()
    assert len(found.finalists) <= NUM_FINALISTS
    assert asked.left() >= (NUM_FINALISTS + 1) * NUM_FACTS
    assert sum(asked.seen.values()) == asked.spent


def test_it_finds_the_best_and_what_is_better_around_it() -> None:
    asked = Invented(peaked, 40)
    found = asked.search(SETTINGS).run()
    best = Candidate(Way("fapm", 30.0), (("layer 1", BASE),))
    assert found.finalists[0] == best
    assert Candidate(best.way) in found.finalists
    assert found.standings[0].candidate == best
    assert found.standings[0].num_facts == NUM_FACTS


def test_it_takes_fewer_evaluations_than_the_grid() -> None:
    asked = Invented(peaked, 16)
    found = asked.search(SETTINGS, groups=["all"]).run()
    assert found.finalists[0] == Candidate(Way("fapm", 30.0))
    grid = len(whole_model(SETTINGS)) * NUM_FACTS
    assert asked.spent < grid / 3


def test_what_loses_the_task_is_left_out() -> None:
    asked = Invented(peaked, 40)
    asked.task = lambda candidate: 0.5 if candidate.way == Way("fapm", 30.0) else 1.0
    found = asked.search(SETTINGS).run()
    assert all(candidate.way.method != "fapm" for candidate in found.finalists)
    assert any(candidate.at("layer 1") == BASE for candidate in found.finalists)


def test_nothing_better_gives_no_finalist() -> None:
    asked = Invented(lambda candidate: 0.5 if candidate == AS_IT_IS else 0.45, 20)
    assert asked.search(SETTINGS).run().finalists == []


def answers(num_facts: int, chance: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(num_facts) < chance).astype(float)


def decided(gain: float, seed: int, num_facts: int = NUM_FACTS) -> Candidate:
    """The choice among three finalists that change a fifth of the facts at random."""
    rng = np.random.default_rng(seed)
    tuned = (rng.random(num_facts) < 0.5).astype(float)
    finalists = [Candidate(Way("relative", share)) for share in (5.0, 10.0, 20.0)]
    found = {AS_IT_IS: Found(tuned, np.array([]))}
    for one in finalists:
        fresh = (rng.random(num_facts) < 0.5 + gain / 0.2).astype(float)
        found[one] = Found(np.where(rng.random(num_facts) < 0.2, fresh, tuned), np.array([]))
    of = Strata(np.zeros(num_facts, dtype=np.int64), ("in",))
    return decide(finalists, found, found, of, max_task_loss=0.01, seed=0).chosen


def test_chance_is_seldom_taken_for_a_gain() -> None:
    chosen = [decided(0.0, seed) for seed in range(200)]
    assert sum(one != AS_IT_IS for one in chosen) <= 20  # 5 % of 200, and 3 standard errors


def test_a_gain_is_found() -> None:
    chosen = [decided(0.08, seed) for seed in range(40)]
    assert sum(one != AS_IT_IS for one in chosen) >= 30


def test_few_facts_decide_nothing() -> None:
    one = Candidate(Way("relative", 5.0))
    found = {
        AS_IT_IS: Found(np.zeros(4), np.array([])),
        one: Found(np.ones(4), np.array([])),
    }
    of = Strata(np.zeros(4, dtype=np.int64), ("in",))
    verdict = decide([one], found, found, of, max_task_loss=0.01, seed=0)
    assert verdict.chosen == AS_IT_IS
    assert verdict.verdicts[0].gain == 1


def test_a_finalist_that_loses_the_task_is_not_taken() -> None:
    one = Candidate(Way("relative", 5.0))
    kept = np.ones(100)
    found = {
        AS_IT_IS: Found(np.zeros(60), kept),
        one: Found(np.ones(60), np.where(np.arange(100) < 4, 0.0, kept)),
    }
    of = Strata(np.zeros(60, dtype=np.int64), ("in",))
    strict = decide([one], found, found, of, max_task_loss=0.01, seed=0)
    assert strict.verdicts[0].surely_better
    assert strict.chosen == AS_IT_IS
