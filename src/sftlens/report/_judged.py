"""The claims table and the failed jobs of a run folder, worded for the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sftlens.report._findings import DOMAIN_NAMES
from sftlens.report._wording import (
    number,
    percent,
    percent_interval,
    points,
    signed,
    value_interval,
)
from sftlens.report.inference import CLAIMS_SCHEMA, paper_claims, read_study
from sftlens.scoring import Estimate
from sftlens.tables import Column, columns_of, read_table

_REMEDY = "run the study again"
_ALWAYS = ("claim", "source", "sentence", "paper", "unit", "claimed", "threshold", "decision")
_CLAIMS = columns_of(
    CLAIMS_SCHEMA, nullable=[name for name in CLAIMS_SCHEMA if name not in _ALWAYS]
)
_FAILURES = {
    name: Column(pl.String(), nullable=name == "run") for name in ("job", "kind", "run", "reason")
}


@dataclass(frozen=True, kw_only=True)
class JudgedClaim:
    """One claim: the paper's words and numbers, what was measured here, and the decision."""

    name: str
    sentence: str
    domain: str | None
    paper: str
    decision: str
    effect: str | None
    how: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that failed or was skipped, so that its numbers are missing."""

    job: str
    kind: str
    run: str | None
    reason: str


def judged_claims(run: Path) -> list[JudgedClaim]:
    """The claims of a run folder, worded.

    Raises:
        UserError: when a table cannot be read or lacks a column.
    """
    return [worded(row) for row in claims_table(run).iter_rows(named=True)]


def claims_table(run: Path) -> pl.DataFrame:
    """The claims of ``claims.parquet``, or judged from the other tables where it is absent.

    Raises:
        UserError: when a table cannot be read or lacks a column.
    """
    path = run / "claims.parquet"
    if path.is_file():
        return read_table(path, remedy=_REMEDY, columns=_CLAIMS, key=["claim"])
    return paper_claims(read_study(run))


def failed_jobs(run: Path) -> list[Failure]:
    """The rows of ``failures.parquet``; none where it is absent.

    Raises:
        UserError: when it cannot be read or lacks a column.
    """
    path = run / "failures.parquet"
    if not path.is_file():
        return []
    table = read_table(path, remedy=_REMEDY, columns=_FAILURES)
    return [Failure(**row) for row in table.select(*_FAILURES).iter_rows(named=True)]


def worded(row: dict[str, Any]) -> JudgedClaim:
    """A row of the claims table in words."""
    told = [row["compared"], row["reason"]]
    if row["p_holm"] is not None:
        told.append(_p_text(row["p_holm"], row["unit"], row["threshold"]))
    return JudgedClaim(
        name=row["claim"],
        sentence=row["sentence"],
        domain=DOMAIN_NAMES.get(row["domain"]),
        paper=row["paper"],
        decision=row["decision"],
        effect=_effect_text(row),
        how="; ".join(part for part in told if part),
    )


def _effect_text(row: dict[str, Any]) -> str | None:
    value, low, high, unit = row["effect"], row["low"], row["high"], row["unit"]
    if value is None:
        return None
    measured = low is not None and high is not None
    if unit == "accuracy":
        if measured:
            return points(Estimate(value, low, high))
        return f"{signed(100 * value)} points"
    if unit == "fraction":
        return percent_interval(Estimate(value, low, high)) if measured else percent(value)
    text = value_interval(Estimate(value, low, high)) if measured else number(value, 3)
    return f"{text} nats" if unit == "nats" else text


def _p_text(p: float, unit: str, threshold: float) -> str:
    limits = {"accuracy": f"{100 * threshold:g} points", "fraction": f"{100 * threshold:g} %"}
    limit = limits.get(unit, f"{threshold:g}")
    value = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    return f"p {value} against {limit}, corrected for all claims (Holm)"
