"""A part of many facts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Literal

from sftlens.errors import UserError
from sftlens.facts._fact import Domain, Fact, Split, is_echoed

Echoed = Literal["keep", "drop"]
"""Whether facts whose answer stands in their own question stay."""


def select_facts(
    facts: Iterable[Fact],
    *,
    splits: Collection[Split] = (),
    domains: Collection[Domain] = (),
    topics: Collection[str] = (),
    echoed: Echoed = "keep",
    limit: int | None = None,
    seed: int = 0,
) -> list[Fact]:
    """Facts of some splits, domains and topics, and of each topic no more than a number.

    Args:
        facts: to choose from.
        splits: those to keep; empty keeps all.
        domains: those to keep; empty keeps all.
        topics: those to keep; empty keeps all.
        echoed: whether those whose answer stands in their question stay (:func:`is_echoed`).
        limit: facts of each topic, over all kept splits; None keeps all. They are drawn by a hash
            of seed and fact_id: a larger limit adds to a smaller one, and whether a fact is drawn
            does not depend on the order of the facts.
        seed: of the draw.

    Returns:
        The chosen facts in their order.

    Raises:
        UserError: when no fact is left, or a topic has none.
    """
    facts = list(facts)
    found = {fact.topic for fact in facts}
    if absent := sorted(set(topics) - found):
        raise UserError(f"no fact has topic {', '.join(absent)}; there are {_some(found)}")
    kept = [
        fact
        for fact in facts
        if (not splits or fact.split in splits)
        and (not domains or fact.domain in domains)
        and (not topics or fact.topic in topics)
    ]
    if not kept:
        sets = {f"{fact.domain} {fact.split}" for fact in facts if fact.topic in (topics or found)}
        raise UserError(f"no fact has the split and domain asked for; there are {_some(sets)}")
    if echoed == "drop":
        kept = [fact for fact in kept if not is_echoed(fact)]
        if not kept:
            raise UserError("every fact chosen has its answer in its own question; keep them")
    if limit is None:
        return kept
    by_topic: dict[str, list[Fact]] = {}
    for fact in kept:
        by_topic.setdefault(fact.topic, []).append(fact)
    drawn = {
        fact.fact_id
        for group in by_topic.values()
        for fact in sorted(group, key=lambda fact: _place(seed, fact))[:limit]
    }
    return [fact for fact in kept if fact.fact_id in drawn]


def _place(seed: int, fact: Fact) -> bytes:
    return hashlib.sha256(f"{seed} {fact.fact_id}".encode()).digest()


def _some(names: Collection[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:40]) + (", …" if len(shown) > 40 else "") or "none"
