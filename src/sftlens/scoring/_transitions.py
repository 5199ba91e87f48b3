"""Facts lost and gained between two models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sftlens.errors import UserError
from sftlens.manifest import read_manifest
from sftlens.mastery import NUM_LEVELS
from sftlens.outputs import new_file
from sftlens.scoring._score import SCORES_SCHEMA
from sftlens.tables import columns_of, read_table

SCORES = "scores.parquet"
TRANSITIONS = "transitions.parquet"

_SCORES = columns_of(
    SCORES_SCHEMA, nullable=["level", "answer"], between={"level": (0, NUM_LEVELS - 1)}
)


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


def run_transitions(reference: Path, folder: Path) -> dict[str, int]:
    """Compare two score folders, and write the table ``transitions`` into the second.

    Args:
        reference: score folder of the first model.
        folder: score folder of the second one.

    Returns:
        How many facts were lost, gained, kept and missed.

    Raises:
        UserError: when one of them is no score folder, or they were not scored alike.
    """
    require_alike(reference, read_manifest(folder, "score")["config"])
    table = transitions(_read_scores(reference), _read_scores(folder))
    if not _is_written(folder / TRANSITIONS, table):
        with new_file(folder / TRANSITIONS) as path:
            table.write_parquet(path)
    found = dict(table.group_by("transition").len().iter_rows())
    return {name: found.get(name, 0) for name in ("lost", "gained", "kept", "missed")}


def require_alike(reference: Path, config: Mapping[str, Any]) -> None:
    """Refuse a score folder that was scored otherwise than ``config`` says.

    Raises:
        UserError: when facts, levels, split, decoding or matching differ; they are named.
    """
    other = read_manifest(reference, "score")["config"]
    differing = [
        part
        for part in ("facts", "mastery", "split", "settings")
        if other.get(part) != config.get(part)
    ]
    if differing:
        raise UserError(
            f"{reference}: was scored with other {', '.join(differing)}; score both models alike"
        )


def require_comparable(
    reference: Path, config: Mapping[str, Any], fact_ids: Collection[str]
) -> None:
    """Refuse a score folder that scores of these facts cannot be compared with.

    Raises:
        UserError: when it is none, or was scored otherwise or over other facts.
    """
    require_alike(reference, config)
    if set(_read_scores(reference)["fact_id"]) != set(fact_ids):
        raise UserError(f"{reference}: has lost scores of some facts; score it again")


def _is_written(path: Path, table: pl.DataFrame) -> bool:
    try:
        return read_table(path, remedy="score again").equals(table)
    except UserError:  # absent or damaged
        return False


def _read_scores(folder: Path) -> pl.DataFrame:
    return read_table(folder / SCORES, remedy="score again", columns=_SCORES, key=["fact_id"])
