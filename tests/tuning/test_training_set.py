"""Training facts: of one level, balanced over topics, drawn by seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.tuning import choose_training_facts
from tiny_world import make_fact

facts_of_topics = st.dictionaries(
    st.sampled_from(["P17", "P19", "P20", "P36"]), st.integers(1, 9), min_size=1
)


def make_facts(sizes: dict[str, int]) -> list[Fact]:
    return [
        make_fact(f"{topic}-{number}", topic=topic)
        for topic, size in sizes.items()
        for number in range(size)
    ]


def level_two(facts: list[Fact]) -> dict[str, int]:
    return {fact.fact_id: 2 for fact in facts}


@given(facts_of_topics, st.integers(1, 40) | st.none(), st.integers(0, 99))
def test_topics_take_turns(sizes: dict[str, int], size: int | None, seed: int) -> None:
    facts = make_facts(sizes)
    chosen = choose_training_facts(facts, level_two(facts), level=2, size=size, seed=seed)
    assert len(chosen) == (len(facts) if size is None else min(size, len(facts)))
    assert len(set(chosen)) == len(chosen)
    counts = Counter(fact.topic for fact in chosen)
    most = max(counts.values())
    for topic, available in sizes.items():
        assert counts[topic] in (most, most - 1) or counts[topic] == available


@given(facts_of_topics, st.integers(1, 20), st.integers(0, 99), st.randoms())
def test_the_order_of_the_facts_does_not_matter(
    sizes: dict[str, int], size: int, seed: int, random: object
) -> None:
    facts = make_facts(sizes)
    turned = sorted(facts, key=lambda _: random.random())  # type: ignore[attr-defined]
    first, second = (
        choose_training_facts(some, level_two(facts), level=2, size=size, seed=seed)
        for some in (facts, turned)
    )
    assert first == second


@given(st.integers(0, 99))
def test_a_larger_set_holds_the_smaller_one(seed: int) -> None:
    facts = make_facts({"P17": 5, "P19": 9, "P20": 2})
    draw = [
        choose_training_facts(facts, level_two(facts), level=2, size=size, seed=seed)
        for size in (4, 9, None)
    ]
    assert draw[1][:4] == draw[0]
    assert draw[2][:9] == draw[1]


def test_seeds_draw_different_sets() -> None:
    facts = make_facts({"P17": 30, "P19": 30})
    drawn = {
        frozenset(choose_training_facts(facts, level_two(facts), level=2, size=10, seed=seed))
        for seed in range(20)
    }
    assert len(drawn) == 20


def test_only_in_domain_training_facts_of_the_level() -> None:
    wanted = make_fact("wanted")
    others = {
        make_fact("test", split="test"): 2,
        make_fact("validation", split="validation"): 2,
        make_fact("out", topic="P26", domain="out"): 2,
        make_fact("level", "Rome"): 3,
        make_fact("low", "Rome"): 0,
    }
    levels = {fact.fact_id: level for fact, level in {wanted: 2, **others}.items()}
    facts = [*others, wanted, make_fact("unknown")]
    assert choose_training_facts(facts, levels, level=2, size=None, seed=0) == [wanted]
    with pytest.raises(UserError, match="no in-domain fact of the train split has level 1"):
        choose_training_facts(facts, levels, level=1, size=None, seed=0)


def test_several_levels_are_drawn_from_as_one() -> None:
    facts = [make_fact(str(n)) for n in range(20)]
    levels = {str(n): n % 5 for n in range(20)}
    chosen = choose_training_facts(facts, levels, level=(1, 3), size=None, seed=0)
    assert sorted(levels[fact.fact_id] for fact in chosen) == [1] * 4 + [3] * 4
    with pytest.raises(UserError, match="level 5 or 6"):
        choose_training_facts(facts, levels, level=(5, 6), size=None, seed=0)
