"""The tables of advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sftlens.advice._candidates import Candidate
from sftlens.advice._measure import Answers, Measure
from sftlens.advice._pilots import Pilots
from sftlens.scoring import SCORES_SCHEMA, Estimate


def _interval(name: str) -> dict[str, pl.DataType]:
    return {part: pl.Float64() for part in (name, f"{name}_low", f"{name}_high")}


CANDIDATES_SCHEMA = pl.Schema(
    {
        "candidate": pl.String(),
        "levels": pl.List(pl.Int64()),
        "size": pl.Int64(),
        "num_seeds": pl.Int64(),
        **_interval("knowledge"),
        **_interval("knowledge_in"),
        **_interval("knowledge_out"),
        **_interval("known"),
        **_interval("over_base"),
        **_interval("over_chosen"),
        "recipe": pl.Boolean(),
        "chosen": pl.Boolean(),
    }
)
"""One row a candidate, the base as it is first (size 0, no levels). On validation facts:
``knowledge`` is the mean over levels and domains, ``known`` the accuracy on facts of level 3 and 4;
``over_base`` and ``over_chosen`` are paired differences of ``knowledge``. With one seed an interval
covers the choice of facts alone. ``recipe``: the paper's. Null is not measured."""

PILOTS_SCHEMA = pl.Schema(
    {
        "candidate": pl.String(),
        "levels": pl.List(pl.Int64()),
        "size": pl.Int64(),
        "seed": pl.Int64(),
        "num_steps": pl.Int64(),
        "final_loss": pl.Float64(),
        "knowledge": pl.Float64(),
        "knowledge_in": pl.Float64(),
        "knowledge_out": pl.Float64(),
        "known": pl.Float64(),
    }
)
"""One row a training run, by candidate and seed; measured as in the candidates' table."""

ANSWERS_SCHEMA = pl.Schema({"candidate": pl.String(), "seed": pl.Int64(), **SCORES_SCHEMA})
"""Every answer of the pilot; the base's have candidate ``base`` and seed null."""

BASE = "base"


def candidates_table(
    answers: Mapping[Candidate, Answers],
    base: Answers,
    measure: Measure,
    *,
    chosen: Candidate | None,
    recipe: Candidate | None,
) -> pl.DataFrame:
    """What was measured of each candidate; None is chosen where the base is left as it is."""
    candidates: list[Candidate | None] = [None, *sorted(answers, key=lambda one: (one.size, one))]
    every = [base if one is None else answers[one] for one in candidates]
    against = base if chosen is None else answers[chosen]
    columns: dict[str, list[Estimate] | None] = {
        "knowledge": measure.estimate(every),
        "knowledge_in": measure.estimate(every, measure.inside),
        "knowledge_out": measure.outside and measure.estimate(every, measure.outside),
        "known": measure.known and measure.estimate(every, measure.known),
        "over_base": measure.differences([(own, base) for own in every]),
        "over_chosen": measure.differences([(own, against) for own in every]),
    }
    rows = []
    for place, one in enumerate(candidates):
        row: dict[str, Any] = what(one) | {"num_seeds": 0 if one is None else len(answers[one])}
        for name, found in columns.items():
            row |= named(name, None if found is None else found[place])
        row |= named("over_base", None) if one is None else {}
        row |= named("over_chosen", None) if one == chosen else {}
        rows.append({**row, "recipe": one is not None and one == recipe, "chosen": one == chosen})
    return pl.DataFrame(rows, schema=CANDIDATES_SCHEMA)


def unmeasured_table(
    candidates: Sequence[Candidate], *, chosen: Candidate | None, recipe: Candidate | None
) -> pl.DataFrame:
    """The same without a pilot."""
    rows = [
        what(one) | {"num_seeds": 0, "recipe": one == recipe, "chosen": one == chosen}
        for one in candidates
    ]
    absent = dict.fromkeys(CANDIDATES_SCHEMA.names())
    return pl.DataFrame([absent | row for row in rows], schema=CANDIDATES_SCHEMA)


def pilots_table(pilots: Pilots, measure: Measure) -> pl.DataFrame:
    """What was measured of each run."""
    rows = []
    for one, seeds in sorted(pilots.runs.items()):
        for seed, answers in zip(seeds, pilots.answers(one), strict=True):
            told = pilots.told(one, seed)
            own = answers[None]
            rows.append(
                {
                    **what(one),
                    "seed": seed,
                    "num_steps": told["num_steps"],
                    "final_loss": told["final_loss"],
                    "knowledge": measure.all.mean(own),
                    "knowledge_in": measure.inside.mean(own),
                    "knowledge_out": measure.outside and measure.outside.mean(own),
                    "known": measure.known and measure.known.mean(own),
                }
            )
    return pl.DataFrame(rows, schema=PILOTS_SCHEMA)


def answers_table(pilots: Pilots) -> pl.DataFrame:
    """Every answer."""
    parts = [_labelled(pilots.base_scores(), BASE, None)]
    for one, seeds in sorted(pilots.runs.items()):
        parts += [_labelled(pilots.scores(one, seed), str(one), seed) for seed in seeds]
    return pl.concat(parts)


def _labelled(table: pl.DataFrame, candidate: str, seed: int | None) -> pl.DataFrame:
    labels = [pl.lit(candidate).alias("candidate"), pl.lit(seed, dtype=pl.Int64()).alias("seed")]
    return table.select(*labels, *SCORES_SCHEMA.names()).cast(ANSWERS_SCHEMA)


def what(one: Candidate | None) -> dict[str, Any]:
    """A candidate's columns; None is the base."""
    if one is None:
        return {"candidate": BASE, "levels": [], "size": 0}
    return {"candidate": str(one), "levels": list(one.levels), "size": one.size}


def named(name: str, found: Estimate | None) -> dict[str, float | None]:
    """A value with its interval as columns."""
    value, low, high = found or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def estimate(row: Mapping[str, Any], name: str) -> Estimate | None:
    """A value with its interval from a row; None where not measured."""
    if row[name] is None:
        return None
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])
