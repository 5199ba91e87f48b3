"""What the scale model's encyclopedia would tell of subjects that it has never heard of."""

from __future__ import annotations

import random
from typing import Any

from sftlens.facts import fill, topics_with
from sftlens.world import WorldSettings, make_world

_ANOTHER_WORLD = 20_000
_NUM_WRONG = 3


def statements(**_: object) -> dict[str, Any]:
    """Statements in random order, each with its beginning, its answer and three of other topics.

    Subjects are of another world, answers of the model's own; none of the other topics has an
    answer in common with the statement's.
    """
    from datasets import Dataset

    topics, rng = topics_with(), random.Random(_ANOTHER_WORLD)
    answers: dict[str, list[str]] = {}
    for fact in make_world(WorldSettings()).facts:
        answers.setdefault(fact.topic, []).append(fact.answers[0])
    strangers = WorldSettings(seed=_ANOTHER_WORLD, num_facts_in=10, num_facts_out=3)
    facts = make_world(strangers).facts
    rng.shuffle(facts)
    found = []
    for fact in facts:
        own = answers[fact.topic]
        others = [names for names in answers.values() if set(names).isdisjoint(own)]
        wrong = rng.sample(sorted({name for names in others for name in names}), _NUM_WRONG)
        begin = fill(rng.choice(topics[fact.topic].templates), fact.subject)
        answer = rng.choice(own)
        found.append(
            {"begin": begin, "answers": [answer, *wrong], "statement": f"{begin} {answer}."}
        )
    return {"statements": Dataset.from_list(found)}
