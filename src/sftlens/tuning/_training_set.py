"""Training facts by mastery level and size."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from sftlens.errors import UserError
from sftlens.facts import Fact


def choose_training_facts(
    facts: Sequence[Fact],
    levels: Mapping[str, int],
    *,
    level: int | Sequence[int],
    size: int | None,
    seed: int,
) -> list[Fact]:
    """Draw training facts of one level or several, balanced over topics (paper section 3).

    Topics take turns, so that their numbers differ by at most one while they have facts left; a
    topic that runs out leaves its turns to the others. Different seeds draw different sets.

    Args:
        facts: of any split and domain; only in-domain facts of the train split are drawn.
        levels: mastery level by fact_id.
        level: 0 to 4; several levels are drawn from as if they were one.
        size: facts to draw; None draws all.
        seed: of the draw.

    Returns:
        The drawn facts; fewer than ``size`` when there are no more.

    Raises:
        UserError: when no fact qualifies.
    """
    wanted_levels = (level,) if isinstance(level, int) else tuple(level)
    rng = random.Random(f"training set {'+'.join(map(str, wanted_levels))} {seed}")
    by_topic: dict[str, list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: fact.fact_id):
        in_training = fact.split == "train" and fact.domain == "in"
        if in_training and levels.get(fact.fact_id) in wanted_levels:
            by_topic.setdefault(fact.topic, []).append(fact)
    if not by_topic:
        named = " or ".join(map(str, wanted_levels))
        raise UserError(
            f"no in-domain fact of the train split has level {named}; choose another level"
        )
    queues = list(by_topic.values())
    rng.shuffle(queues)
    for queue in queues:
        rng.shuffle(queue)
    chosen: list[Fact] = []
    wanted = sum(map(len, queues)) if size is None else size
    while queues and len(chosen) < wanted:
        for queue in queues[: wanted - len(chosen)]:
            chosen.append(queue.pop())
        queues = [queue for queue in queues if queue]
    return chosen


def validation_facts(facts: Sequence[Fact]) -> list[Fact]:
    """The facts that a training is watched on: in-domain, of the validation split."""
    return [fact for fact in facts if fact.split == "validation" and fact.domain == "in"]
