"""Facts lost and gained between two models."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sftlens.errors import UserError
from sftlens.manifest import read_manifest
from sftlens.scoring._run import SCORES


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


def count_transitions(reference: Path, folder: Path) -> dict[str, int]:
    """How many facts were lost, gained, kept and missed from one score folder to another.

    Raises:
        UserError: when one of them is no score folder, or they hold different facts.
    """
    tables = []
    for scores in (reference, folder):
        read_manifest(scores, "score")
        tables.append(pl.read_parquet(scores / SCORES))
    found = dict(transitions(*tables).group_by("transition").len().iter_rows())
    return {name: found.get(name, 0) for name in ("lost", "gained", "kept", "missed")}
