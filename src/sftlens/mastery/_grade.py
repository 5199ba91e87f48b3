"""From judged completions to R, level and category; what each template is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from sftlens.facts import Fact
from sftlens.mastery._levels import NUM_LEVELS, category_of, level_of
from sftlens.mastery._uncertainty import uncertainty

COMPLETIONS_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "template": pl.Int32(),
        "sample": pl.Int32(),
        "text": pl.String(),
        "hit": pl.Boolean(),
    }
)
GREEDY_SCHEMA = pl.Schema(
    {name: kind for name, kind in COMPLETIONS_SCHEMA.items() if name != "sample"}
)
MASTERY_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "topic": pl.String(),
        "num_completions": pl.Int32(),
        "num_hits": pl.Int32(),
        "mastery": pl.Float64(),
        "level": pl.Int32(),
        "best_template": pl.Int32(),
        "standard_error": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "uncertain": pl.Boolean(),
        "category": pl.String(),
    }
)
TEMPLATES_SCHEMA = pl.Schema(
    {
        "topic": pl.String(),
        "template": pl.Int32(),
        "text": pl.String(),
        "num_completions": pl.Int64(),
        "num_hits": pl.Int64(),
        "mastery": pl.Float64(),
    }
)


def grade(
    facts: Sequence[Fact], completions: pl.DataFrame, greedy: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The mastery table of facts from their judged completions.

    ``best_template`` is the template with the most hits, the first of them on a tie;
    ``standard_error``, ``low`` and ``high`` are of R (:func:`uncertainty`), ``uncertain`` whether
    its 95 % interval reaches into another level.

    Args:
        facts: the facts.
        completions: :data:`COMPLETIONS_SCHEMA`, of all of them.
        greedy: :data:`GREEDY_SCHEMA`; without it there is no ``category`` (null).

    Returns:
        One row a fact, :data:`MASTERY_SCHEMA`, in the order of the facts.
    """
    by_template: dict[str, list[tuple[int, int, int]]] = {}
    counted = completions.group_by("fact_id", "template").agg(pl.col("hit").sum(), pl.len())
    for fact_id, template, hits, number in counted.sort("template").iter_rows():
        by_template.setdefault(fact_id, []).append((template, hits, number))
    categories = {} if greedy is None else _categories(facts, by_template, greedy)
    rows = []
    for fact in facts:
        own = by_template[fact.fact_id]
        hits, total = sum(row[1] for row in own), sum(row[2] for row in own)
        sure = uncertainty([(row[1], row[2]) for row in own])
        best = max(own, key=lambda row: (row[1], -row[0]))[0]
        rows.append(
            (
                *(fact.fact_id, fact.topic, total, hits, hits / total, level_of(hits, total), best),
                *(*sure, sure.is_uncertain, categories.get(fact.fact_id)),
            )
        )
    return pl.DataFrame(rows, schema=MASTERY_SCHEMA, orient="row")


def _categories(
    facts: Sequence[Fact],
    by_template: dict[str, list[tuple[int, int, int]]],
    greedy: pl.DataFrame,
) -> dict[str, str]:
    counted = greedy.group_by("fact_id").agg(pl.col("hit").sum(), pl.len())
    found = {fact_id: (hits, number) for fact_id, hits, number in counted.iter_rows()}
    return {
        fact.fact_id: category_of(
            *found[fact.fact_id], sum(row[1] for row in by_template[fact.fact_id])
        )
        for fact in facts
    }


def template_counts(
    mastery: pl.DataFrame, completions: pl.DataFrame, wording: Callable[[str, int], str | None]
) -> pl.DataFrame:
    """What each template of each topic gave: :data:`TEMPLATES_SCHEMA`, by topic and template.

    Args:
        mastery: of some facts.
        completions: theirs.
        wording: the text of a template, by topic and number.
    """
    counts = (
        completions.join(mastery.select("fact_id", "topic"), on="fact_id")
        .group_by("topic", "template")
        .agg(num_completions=pl.len().cast(pl.Int64), num_hits=pl.col("hit").sum().cast(pl.Int64))
    )
    texts = [wording(*key) for key in counts.select("topic", "template").iter_rows()]
    return added_up([counts.with_columns(text=pl.Series(texts, dtype=pl.String))])


def added_up(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Tables of :func:`template_counts` put together."""
    columns = [name for name in TEMPLATES_SCHEMA.names() if name != "mastery"]
    whole = pl.concat([TEMPLATES_SCHEMA.to_frame(), *parts], how="diagonal").select(columns)
    return (
        whole.group_by("topic", "template", "text")
        .agg(pl.col("num_completions").sum(), pl.col("num_hits").sum())
        .with_columns(mastery=pl.col("num_hits") / pl.col("num_completions"))
        .sort("topic", "template")
    )


class BestTemplate(NamedTuple):
    """A mapping template: its number and its text, with ``{subject}``."""

    number: int
    text: str


def best_templates(templates: pl.DataFrame) -> dict[str, BestTemplate]:
    """The mapping template with the highest success of each topic, the first of them on a tie.

    Topics whose facts were asked by questions have none.

    Args:
        templates: :data:`TEMPLATES_SCHEMA`.
    """
    best: dict[str, BestTemplate] = {}
    ranked = templates.drop_nulls("text").sort("mastery", "template", descending=[True, False])
    for topic, number, text in ranked.select("topic", "template", "text").iter_rows():
        best.setdefault(topic, BestTemplate(number, text))
    return best


def level_sizes(mastery: pl.DataFrame) -> list[int]:
    """How many facts each level has, level 0 first."""
    counts = dict(mastery.group_by("level").len().iter_rows())
    return [counts.get(level, 0) for level in range(NUM_LEVELS)]
