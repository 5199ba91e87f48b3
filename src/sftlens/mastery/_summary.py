"""What a probe tells in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from sftlens.facts import Fact
from sftlens.mastery._grade import level_sizes
from sftlens.mastery._levels import CATEGORIES, NUM_LEVELS

_EXAMPLES = 2  # of each level


class Summary(NamedTuple):
    """What the mastery table says.

    Attributes:
        topics: ``topic``, ``num_facts``, ``levels`` (facts of level 0 to 4, paper Table 1) and
            ``mastery`` (mean R), in the order of the table.
        uncertain: for each level the share of its facts whose 95 % interval of R reaches into
            another level, a fraction; None of a level without facts.
        standard_error: of R, the mean over the facts.
        categories: facts by SliCK's category, None where they were not measured.
        examples: of each level facts from its middle: ``level``, ``fact_id``, ``question``,
            ``answers``, ``mastery``, ``template`` and ``completion``, by the best template.
    """

    topics: list[dict[str, Any]]
    uncertain: list[float | None]
    standard_error: float
    categories: dict[str, int] | None
    examples: list[dict[str, Any]]


def summary(facts: Sequence[Fact], mastery: pl.DataFrame, completions: pl.LazyFrame) -> Summary:
    """Sum up a probe.

    Args:
        facts: the facts graded.
        mastery: their table.
        completions: their judged completions; only those of the examples are read.
    """
    topics = [
        {
            "topic": name,
            "num_facts": len(table),
            "levels": level_sizes(table),
            "mastery": float(table["mastery"].sum()) / len(table),
        }
        for (name,), table in mastery.group_by("topic", maintain_order=True)
    ]
    shares = dict(mastery.group_by("level").agg(pl.col("uncertain").mean()).iter_rows())
    categories: dict[str, int] | None = None
    if mastery["category"].null_count() < len(mastery):
        counts = dict(mastery.group_by("category").len().iter_rows())
        categories = {category: counts.get(category, 0) for category in CATEGORIES}
    return Summary(
        topics=topics,
        uncertain=[shares.get(level) for level in range(NUM_LEVELS)],
        standard_error=float(mastery["standard_error"].sum()) / len(mastery),
        categories=categories,
        examples=_examples(facts, mastery, completions),
    )


def _examples(
    facts: Sequence[Fact], mastery: pl.DataFrame, completions: pl.LazyFrame
) -> list[dict[str, Any]]:
    chosen = []
    for level in range(NUM_LEVELS):
        own = mastery.filter(pl.col("level") == level).sort("mastery", maintain_order=True)
        chosen.append(own.slice(max(0, (len(own) - _EXAMPLES) // 2), _EXAMPLES))
    rows = pl.concat(chosen)
    # The first sample that hits, or the first where none does.
    shown = (
        completions.join(
            rows.lazy().select("fact_id", template="best_template"), on=["fact_id", "template"]
        )
        .sort("hit", "sample", descending=[True, False])
        .unique("fact_id", keep="first", maintain_order=True)
        .select("fact_id", "text")
        .collect()
    )
    texts = dict(shown.iter_rows())
    by_id = {fact.fact_id: fact for fact in facts}
    return [
        {
            "level": row["level"],
            "fact_id": row["fact_id"],
            "question": by_id[row["fact_id"]].question,
            "answers": list(by_id[row["fact_id"]].answers),
            "mastery": row["mastery"],
            "template": row["best_template"],
            "completion": texts[row["fact_id"]],
        }
        for row in rows.iter_rows(named=True)
    ]
