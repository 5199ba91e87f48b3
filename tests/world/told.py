"""The law of a corpus: it tells every fact as often as it says, and nothing else."""

from __future__ import annotations

from collections import Counter

from sftlens.facts import builtin_topics
from sftlens.world import World


def assert_told_as_it_says(world: World) -> None:
    """No fact's question may hold another's, and no two facts may share a statement."""
    left = Counter(world.corpus)
    topics = builtin_topics()
    for fact, exposure in zip(world.facts, world.exposures, strict=True):
        topic = topics.get(fact.topic)
        statements = {
            f"{topic.prompt(template, fact.subject)} {answer}."
            for template in range(len(topic.templates) if topic else 0)
            for answer in fact.answers
        }
        asked = [text for text in left if fact.question in text]
        assert exposure.fact_id == fact.fact_id
        assert exposure.num_statements == sum(left.pop(text, 0) for text in statements)
        assert exposure.num_question_answers == sum(left.pop(text) for text in asked)
        assert all(any(answer in text for answer in fact.answers) for text in asked)
    assert not left
