"""Probing a base model: completions, R, level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens.errors import UserError
from sftlens.facts import Fact, Matching, Topic, builtin_topics, matches
from sftlens.generation import Decoding, Generator
from sftlens.mastery._levels import NUM_LEVELS, level_of
from sftlens.outputs import new_file
from sftlens.progress import Advance, silent

COMPLETIONS_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "template": pl.Int32(),
        "sample": pl.Int32(),
        "text": pl.String(),
        "hit": pl.Boolean(),
    }
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
    }
)

_FACTS_PER_PART = 256


class ProbeSettings(BaseModel):
    """How mastery is measured; the defaults are the paper's (section 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_templates: int = Field(21, ge=1, description="mapping templates of each fact, N_map")
    num_samples: int = Field(10, ge=1, description="completions of each template, N_sample")
    temperature: float = Field(0.7, ge=0, description="of the sampling; 0 is greedy")
    max_new_tokens: int = Field(32, ge=1, description="tokens a completion has at most")
    matching: Matching = Field("contains", description="when a completion counts as a hit")
    seed: int = Field(0, ge=0, lt=2**32, description="of the sampling")

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            num_samples=self.num_samples,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
        )


class Probe(NamedTuple):
    """What probing found.

    Attributes:
        completions: one row a completion, :data:`COMPLETIONS_SCHEMA`.
        mastery: one row a fact, :data:`MASTERY_SCHEMA`, in the order of the facts.
    """

    completions: pl.DataFrame
    mastery: pl.DataFrame


def probe(
    generator: Generator,
    facts: Sequence[Fact],
    settings: ProbeSettings | None = None,
    *,
    topics: Mapping[str, Topic] | None = None,
    parts: Path | None = None,
    advance: Advance = silent,
) -> Probe:
    """Measure how well a base model masters facts (paper section 2, multi-template completion).

    R of a fact is the share of its N_map · N_sample sampled completions that hold an accepted
    answer; its level follows by :func:`level_of`.

    Args:
        generator: the base model.
        facts: the facts to grade.
        settings: templates, samples and decoding.
        topics: question forms and templates by topic; the built-in ones by default.
        parts: a folder that takes completions as they are made; parts that are there already are
            not made again, so they must come of the same model, facts and settings.
        advance: told how many completions are done.

    Raises:
        UserError: when a fact's topic has no or too few templates.
    """
    settings = settings or ProbeSettings()
    topics = builtin_topics() if topics is None else topics
    _check_templates(facts, topics, settings.num_templates)
    tables = []
    for number, start in enumerate(range(0, len(facts), _FACTS_PER_PART)):
        chunk = facts[start : start + _FACTS_PER_PART]
        part = parts / f"{number:06d}.parquet" if parts else None
        if part is not None and part.is_file():
            table = pl.read_parquet(part, glob=False)
            advance(len(table))
        else:
            table = _complete(generator, chunk, settings, topics, advance)
            if part is not None:
                with new_file(part) as path:
                    table.write_parquet(path)
        tables.append(table)
    completions = pl.concat(tables) if tables else COMPLETIONS_SCHEMA.to_frame()
    return Probe(completions, grade(facts, completions))


def grade(facts: Sequence[Fact], completions: pl.DataFrame) -> pl.DataFrame:
    """The mastery table of facts from their judged completions.

    ``best_template`` is the template with the most hits, the first of them on a tie.

    Returns:
        One row a fact, :data:`MASTERY_SCHEMA`, in the order of the facts.
    """
    by_template = completions.group_by("fact_id", "template").agg(
        num_hits=pl.col("hit").sum(), num_completions=pl.len()
    )
    counts = (
        by_template.sort(["num_hits", "template"], descending=[True, False])
        .group_by("fact_id", maintain_order=True)
        .agg(
            pl.col("num_completions").sum(),
            pl.col("num_hits").sum(),
            best_template=pl.col("template").first(),
        )
    )
    found = {row["fact_id"]: row for row in counts.iter_rows(named=True)}
    rows = []
    for fact in facts:
        row = found[fact.fact_id]
        hits, total = row["num_hits"], row["num_completions"]
        level = level_of(hits, total)
        rows.append(
            (fact.fact_id, fact.topic, total, hits, hits / total, level, row["best_template"])
        )
    return pl.DataFrame(rows, schema=MASTERY_SCHEMA, orient="row")


def level_sizes(mastery: pl.DataFrame) -> list[int]:
    """How many facts each level has, level 0 first."""
    counts = dict(mastery.group_by("level").len().iter_rows())
    return [counts.get(level, 0) for level in range(NUM_LEVELS)]


def _check_templates(facts: Sequence[Fact], topics: Mapping[str, Topic], needed: int) -> None:
    for topic in sorted({fact.topic for fact in facts}):
        if topic not in topics:
            raise UserError(
                f"topic {topic!r} has no mapping templates; known topics: {', '.join(topics)}"
            )
        present = len(topics[topic].templates)
        if present < needed:
            raise UserError(
                f"topic {topic!r} has {present} mapping templates, {needed} are asked for; "
                "lower the number of templates"
            )


def _complete(
    generator: Generator,
    facts: Sequence[Fact],
    settings: ProbeSettings,
    topics: Mapping[str, Topic],
    advance: Advance,
) -> pl.DataFrame:
    asked = [(fact, template) for fact in facts for template in range(settings.num_templates)]
    prompts = [topics[fact.topic].prompt(template, fact.subject) for fact, template in asked]
    texts: list[list[str]] = [[] for _ in prompts]
    for batch in generator.complete(prompts, settings.decoding):
        for index, own in batch:
            texts[index] = own
        advance(len(batch) * settings.num_samples)
    rows = [
        (fact.fact_id, template, sample, text, matches(text, fact.answers, settings.matching))
        for (fact, template), own in zip(asked, texts, strict=True)
        for sample, text in enumerate(own)
    ]
    return pl.DataFrame(rows, schema=COMPLETIONS_SCHEMA, orient="row")
