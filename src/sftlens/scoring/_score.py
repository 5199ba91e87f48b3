"""Closed-book question answering (paper section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens.facts import DOMAINS, Domain, Fact, Matching, matches
from sftlens.generation import Decoding, Generator, question_prompt
from sftlens.intervals import Estimate, mean_of_proportions, proportion
from sftlens.mastery import NUM_LEVELS
from sftlens.progress import Advance, silent

SCORES_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "topic": pl.String(),
        "domain": pl.String(),
        "level": pl.Int32(),
        "answer": pl.String(),
        "correct": pl.Boolean(),
    }
)


class ScoreSettings(BaseModel):
    """How answers are made and judged; the defaults are the paper's (section 4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(
        16, ge=1, le=65_536, description="tokens of an answer at most, greedy"
    )
    matching: Matching = Field("contains", description="when an answer is correct")


def score(
    generator: Generator,
    facts: Sequence[Fact],
    levels: Mapping[str, int],
    settings: ScoreSettings | None = None,
    *,
    advance: Advance = silent,
) -> pl.DataFrame:
    """Ask a model every fact, greedily and with the training prompt (paper section 4).

    Args:
        generator: the model.
        facts: what to ask.
        levels: mastery level by fact_id; a fact that is not in it has level null.
        settings: length and matching of the answers.
        advance: told how many facts are done.

    Returns:
        One row a fact, :data:`SCORES_SCHEMA`, in the order of the facts.
    """
    settings = settings or ScoreSettings()
    decoding = Decoding(max_new_tokens=settings.max_new_tokens)
    answers = [""] * len(facts)
    for batch in generator.complete([question_prompt(f.question) for f in facts], decoding):
        for index, texts, _ in batch:
            answers[index] = texts[0]
        advance(len(batch))
    rows = [
        (
            fact.fact_id,
            fact.topic,
            fact.domain,
            levels.get(fact.fact_id),
            answer,
            matches(answer, fact.answers, settings.matching),
        )
        for fact, answer in zip(facts, answers, strict=True)
    ]
    return pl.DataFrame(rows, schema=SCORES_SCHEMA, orient="row")


class Accuracy(NamedTuple):
    """The accuracy of one domain.

    Attributes:
        levels: by mastery level 0 to 4; None for a level without facts.
        mean: the plain mean of the levels that have facts (paper section 4).
    """

    levels: list[Estimate | None]
    mean: Estimate


def accuracy(scores: pl.DataFrame) -> dict[Domain, Accuracy | None]:
    """Accuracy by domain and level with 95 % intervals over facts; see :func:`proportion`.

    Args:
        scores: a table that :func:`score` made.

    Returns:
        For each domain its accuracy, or None where no fact of it has a level.
    """
    return {domain: _accuracy(scores.filter(domain=domain)) for domain in DOMAINS}


def _accuracy(scores: pl.DataFrame) -> Accuracy | None:
    counts = scores.group_by("level").agg(pl.col("correct").sum(), total=pl.len())
    found = {level: (correct, total) for level, correct, total in counts.iter_rows()}
    levels = [proportion(*found[k]) if k in found else None for k in range(NUM_LEVELS)]
    present = [level for level in levels if level is not None]
    return Accuracy(levels, mean_of_proportions(present)) if present else None
