"""Facts lost and gained between two models."""

from __future__ import annotations

import polars as pl

from sftlens.errors import UserError


def transitions(reference: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """What became of each fact from one model to another.

    Args:
        reference: scores of the first model, as :func:`sftlens.scoring.score` makes them.
        scores: scores of the second model over the same facts.

    Returns:
        fact_id, topic, domain, level, the two answers (``reference_answer``, ``answer``), and
        ``transition``: ``lost`` (correct, then wrong), ``gained`` (wrong, then correct), ``kept``
        or ``missed``.

    Raises:
        UserError: when the two were not scored over the same facts.
    """
    if set(reference["fact_id"]) != set(scores["fact_id"]):
        raise UserError(
            f"the two models were scored over different facts ({len(reference)} and "
            f"{len(scores)}); score both over the same facts file"
        )
    before, after = pl.col("reference_correct"), pl.col("correct")
    joined = scores.join(
        reference.select(
            "fact_id", reference_answer=pl.col("answer"), reference_correct=pl.col("correct")
        ),
        on="fact_id",
        maintain_order="left",
    )
    return joined.select(
        "fact_id",
        "topic",
        "domain",
        "level",
        "reference_answer",
        "answer",
        transition=pl.when(before & after)
        .then(pl.lit("kept"))
        .when(before)
        .then(pl.lit("lost"))
        .when(after)
        .then(pl.lit("gained"))
        .otherwise(pl.lit("missed")),
    )
