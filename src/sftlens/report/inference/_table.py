"""The table of the paper's claims, each with what a study says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sftlens.report.inference._claim import CLAIMS_SCHEMA, Claim, Compared, OverRuns
from sftlens.report.inference._crossed import NUM_RESAMPLES, Inference, infer
from sftlens.report.inference._evidence import TABLES, Evidence, NotMeasuredError
from sftlens.report.inference._multiplicity import (
    NOT_MEASURED,
    decide,
    holm,
    smallest_effect_p,
)
from sftlens.report.inference._restoration_claims import restoration_claims
from sftlens.report.inference._token_claims import token_claims
from sftlens.report.inference._training_claims import training_claims
from sftlens.report.inference._weight_claims import weight_claims
from sftlens.tables import read_table

_ONE_SET = "one training set of each: nothing tells the condition from the draw"


def paper_claims(
    tables: Mapping[str, pl.DataFrame], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> pl.DataFrame:
    """Every claim of the paper, measured and decided.

    A claim holds, or does not, where its effect differs from the threshold with a two-sided
    p value that is at most 0.05 after Holm's correction over all claims measured; the side tells
    which of the two. Otherwise it is undecided. What is chosen (a size, a level, a share) is chosen
    on facts that the effect then leaves out, and where training sets are compared, by other seeds.

    Args:
        tables: of a study, by name; see :func:`read_study`. A claim whose tables are missing or
            lack a column is ``not measured``.
        num_resamples: of the bootstrap; no p value is below 2 / (num_resamples + 1).
        seed: of the bootstrap.

    Returns:
        :data:`CLAIMS_SCHEMA`, one row a claim, always the same claims.

    Raises:
        UserError: when a table has two rows of the same key, or runs that ``runs`` lacks.
    """
    evidence = Evidence(tables)
    claims = [*training_claims(), *token_claims(), *weight_claims(), *restoration_claims()]
    found: dict[str, Compared | OverRuns | NotMeasuredError] = {}
    for claim in claims:
        try:
            found[claim.name] = claim.measure(evidence)
        except NotMeasuredError as reason:
            found[claim.name] = reason
    compared = {name: one for name, one in found.items() if isinstance(one, Compared)}
    contrasts = [contrast for one in compared.values() for contrast in one.contrasts]
    inferences = iter(infer(contrasts, num_resamples=num_resamples, seed=seed))
    inferred = {name: [next(inferences) for _ in one.contrasts] for name, one in compared.items()}
    rows = []
    for claim in claims:
        one = found[claim.name]
        row: dict[str, Any] = {
            "claim": claim.name,
            "source": claim.source,
            "sentence": claim.sentence,
            "paper": claim.paper,
            "domain": claim.domain,
            "unit": claim.unit,
            "claimed": claim.claimed,
            "threshold": claim.threshold,
        }
        if isinstance(one, NotMeasuredError):
            row["reason"] = str(one)
        elif isinstance(one, Compared):
            row |= {"compared": one.text, **_over_facts(claim, inferred[claim.name])}
        else:
            row |= _over_runs(one)
        rows.append(row)
    for row, adjusted in zip(rows, holm([row.get("p") for row in rows]), strict=True):
        row["p_holm"] = adjusted
        row["decision"] = (
            decide(row["effect"], row["claimed"], row["threshold"], adjusted)
            if row.get("effect") is not None
            else NOT_MEASURED
        )
    return pl.DataFrame(rows, schema=CLAIMS_SCHEMA)


def read_study(run: Path) -> dict[str, pl.DataFrame]:
    """The tables of a run folder that claims are judged by, as far as they are there, and of the
    large ones no other columns.

    Raises:
        UserError: when one cannot be read.
    """
    paths = {name: run / f"{name}.parquet" for name in TABLES}
    return {
        name: read_table(path, remedy="run the study again", only=TABLES[name])
        for name, path in paths.items()
        if path.is_file()
    }


def covered(num_training_sets: int) -> str:
    """What an interval covers the choice of."""
    return "facts and training sets" if num_training_sets > 1 else "facts"


def _over_facts(claim: Claim, found: list[Inference]) -> dict[str, Any]:
    values = [one.estimate.value for one in found]
    num_sets = min(one.num_training_sets for one in found)
    row: dict[str, Any] = {
        "effect": min(values),
        "low": min(one.estimate.low for one in found),
        "high": min(one.estimate.high for one in found),
        "covers": covered(num_sets),
        "num_facts": min(one.num_facts for one in found),
        "num_training_sets": num_sets,
    }
    if claim.between_training_sets and num_sets < 2:
        return {**row, "reason": _ONE_SET}
    p_values = [one.p(claim.threshold) for one in found]
    return {**row, "p": smallest_effect_p(values, p_values, claim.threshold)}


def _over_runs(found: OverRuns) -> dict[str, Any]:
    assert np.isfinite(found.value), found
    return {
        "compared": found.text,
        "effect": found.value,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "covers": found.covers,
        "num_facts": found.num_facts,
        "num_training_sets": found.num_training_sets,
        "reason": found.reason,
    }
