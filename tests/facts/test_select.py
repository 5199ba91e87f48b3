"""A part of many facts."""

from __future__ import annotations

from collections import Counter

import pytest

from sftlens.errors import UserError
from sftlens.facts import select_facts
from tiny_world import make_fact

FACTS = [
    make_fact(f"{topic}-{split}-{number}", topic=topic, split=split, domain=domain)
    for topic, domain in (("P19", "in"), ("P20", "in"), ("P26", "out"))
    for split in ("train", "test")
    for number in range(10)
]


def test_by_default_all_are_kept() -> None:
    assert select_facts(FACTS) == FACTS


def test_splits_domains_and_topics() -> None:
    chosen = select_facts(FACTS, splits=["test"], domains=["in"], topics=["P20", "P26"])
    assert chosen == [fact for fact in FACTS if fact.topic == "P20" and fact.split == "test"]
    assert len(select_facts(FACTS, splits=["test", "train"], domains=["in", "out"])) == len(FACTS)


def test_the_limit_is_of_each_topic() -> None:
    chosen = select_facts(FACTS, limit=3)
    assert Counter(fact.topic for fact in chosen) == {"P19": 3, "P20": 3, "P26": 3}
    assert chosen == [fact for fact in FACTS if fact in chosen]
    assert select_facts(FACTS, limit=20) == FACTS


def test_the_draw() -> None:
    chosen = select_facts(FACTS, limit=5, seed=1)
    assert set(select_facts(FACTS, limit=3, seed=1)) < set(chosen)
    assert set(select_facts(FACTS[::-1], limit=5, seed=1)) == set(chosen)
    assert select_facts(FACTS, limit=5, seed=2) != chosen
    draws = [select_facts(FACTS, topics=["P19"], limit=1, seed=seed)[0] for seed in range(100)]
    assert len(set(draws)) > 15  # of 20


def test_nothing_left() -> None:
    with pytest.raises(UserError, match="no fact has topic P1, P2; there are P19, P20, P26"):
        select_facts(FACTS, topics=["P2", "P19", "P1"])
    with pytest.raises(UserError, match=r"there are in test, in train$"):
        select_facts(FACTS, topics=["P19"], domains=["out"])
    with pytest.raises(UserError, match=r"there are in test, in train, out test, out train$"):
        select_facts(FACTS, splits=["validation"])
