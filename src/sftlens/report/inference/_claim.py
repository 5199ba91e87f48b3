"""One claim of the paper, and what a study says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sftlens.report.inference._crossed import Contrast
from sftlens.report.inference._evidence import Evidence

CLAIMS_SCHEMA = pl.Schema(
    {
        "claim": pl.String(),
        "source": pl.String(),
        "sentence": pl.String(),
        "paper": pl.String(),
        "domain": pl.String(),
        "compared": pl.String(),
        "unit": pl.String(),
        "claimed": pl.String(),
        "threshold": pl.Float64(),
        "effect": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "p": pl.Float64(),
        "p_holm": pl.Float64(),
        "decision": pl.String(),
        "reason": pl.String(),
        "covers": pl.String(),
        "num_facts": pl.Int64(),
        "num_training_sets": pl.Int64(),
    }
)
"""One row a claim; what was not measured is null.

claim: id, unique. source: where in the paper. sentence: the claim in our words. paper: its figure
there. domain: ``in``, ``out``, or null. compared: what was held against what here. unit: of effect,
interval and threshold; ``accuracy`` is a fraction. claimed: the side of ``threshold`` on which the
claim holds, ``above`` or ``below``. low, high: 95 % interval, not adjusted. p: two-sided, of the
effect being the threshold. p_holm: adjusted over the table. decision: ``holds``,
``does not hold``, ``undecided`` or ``not measured``. reason: why not measured or without a p value.
covers: what the interval covers the choice of. num_training_sets: the fewest of a condition.
"""

Unit = Literal["accuracy", "nats", "fraction", "correlation", "slope"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Effects over facts that a claim rests on; of several the smallest is meant."""

    contrasts: tuple[Contrast, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class OverRuns:
    """An effect whose interval is over models, or over training conditions."""

    value: float
    low: float | None
    high: float | None
    p: float | None
    covers: str
    text: str
    num_facts: int | None = None
    num_training_sets: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and how it is measured.

    Attributes:
        between_training_sets: whether models of different training sets are compared; one set of
            each then cannot tell the condition from the draw, and nothing is decided.
        measure: gives what was found.

    The other attributes are columns of :data:`CLAIMS_SCHEMA`.
    """

    name: str
    source: str
    sentence: str
    paper: str
    unit: Unit
    measure: Callable[[Evidence], Compared | OverRuns]
    claimed: Literal["above", "below"] = "above"
    threshold: float = 0.0
    domain: str | None = None
    between_training_sets: bool = False
