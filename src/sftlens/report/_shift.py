"""The token level (KL) and the parameter level (concentration) of a study, over its runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.report._answers import TUNED, Cell
from sftlens.report._statistics import Correlation, mean_over_seeds_and_facts, spearman
from sftlens.report._tables import Tables
from sftlens.scoring import Estimate

RANKINGS = ("relative", "null", "absolute")
WITHOUT = ("relative without small bases", "null without small bases")
"""The same with the parameters left out whose base is below 1e-4."""
BASES = {"num_zero_base": "base 0", "num_small_base": "base below 1e-4"}
"""What is counted of the top's changed entries, by column, and its name."""
_REFERENCE_TOP = 5.0  # percent; where the paper's Table 3 holds 82.4 %


class RunPoint(NamedTuple):
    """One run's mean KL (nats) and its accuracy on the very facts that have a KL."""

    run: str
    level: int
    size: int
    seed: int
    kl: float
    accuracy: float
    num_facts: int


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """KL(tuned ‖ base) over runs; empty where no row was measured."""

    by_cell: dict[Cell, Estimate]
    points: list[RunPoint]
    correlation: Correlation | None
    lowest_size: int | None  # below the largest, the size of lowest KL on one half of the facts
    rise: Estimate | None  # KL at the largest minus at that size, on the other half


class Held(NamedTuple):
    """The fraction of the total change that the top parameters hold: mean and range over runs."""

    mean: float
    lowest: float
    highest: float
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """How much of the change the most changed parameters hold, per ranking and top (percent).

    ``bases``: the fraction of the top's changed entries, by relative change, that has such a base,
    by name as in :data:`BASES` and top; empty where it was not counted.
    """

    held: dict[tuple[str, float], Held]
    bases: dict[tuple[str, float], Held]
    reference_top: float | None
    over_null: Held | None  # relative minus null at the reference top, per run


def measure_divergence(tables: Tables) -> Divergence:
    """Means, correlation with accuracy, and the rise beyond the size of lowest KL."""
    rows = (
        tables.divergence.filter(pl.col("kl").is_not_null())
        .group_by("run", "fact_id")
        .agg(pl.col("kl").mean())
        .join(tables.runs.select("run", "level", "size", "seed"), on="run")
    )
    blocks: dict[Cell, NDArray[np.float64]] = {}
    wide: dict[tuple[int, int, int], dict[str, float]] = {}
    for (level, size, seed), group in rows.group_by("level", "size", "seed"):
        key = (int(str(level)), int(str(size)), int(str(seed)))
        wide[key] = dict(zip(group["fact_id"], group["kl"], strict=True))
    shared = sorted(set.intersection(*(set(by) for by in wide.values()))) if wide else []
    for level, size, seed in sorted(wide):
        by_fact = wide[level, size, seed]
        row = np.array([[by_fact[fact] for fact in shared]])
        cell = Cell(level, size)
        blocks[cell] = np.vstack([blocks[cell], row]) if cell in blocks else row
    answered = tables.scores.filter(pl.col("method") == TUNED, pl.col("correct").is_not_null())
    points = run_points(rows, answered)
    lowest, rise = _rise(blocks)
    return Divergence(
        by_cell={cell: mean_over_seeds_and_facts(b) for cell, b in blocks.items() if b.size},
        points=points,
        correlation=spearman(
            np.array([point.kl for point in points]),
            np.array([point.accuracy for point in points]),
        ),
        lowest_size=lowest,
        rise=rise,
    )


def run_points(divergence: pl.DataFrame, answered: pl.DataFrame) -> list[RunPoint]:
    """Each run's mean KL and accuracy, over the facts that have both.

    Args:
        divergence: run, level, size, seed, fact_id and kl, one row a run and fact.
        answered: run, fact_id and correct, of tuned models alone.
    """
    both = (
        divergence.join(answered.select("run", "fact_id", "correct"), on=["run", "fact_id"])
        .group_by("run", "level", "size", "seed")
        .agg(pl.col("kl").mean(), pl.col("correct").mean().alias("accuracy"), pl.len())
        .sort("level", "size", "seed")
    )
    return [RunPoint(*row) for row in both.iter_rows()]


def _rise(blocks: dict[Cell, NDArray[np.float64]]) -> tuple[int | None, Estimate | None]:
    levels = {cell.level for cell in blocks}
    sizes = [{cell.size for cell in blocks if cell.level == level} for level in levels]
    common = sorted(set.intersection(*sizes)) if sizes else []
    num_facts = next(iter(blocks.values())).shape[1] if blocks else 0
    if len(common) < 2 or num_facts < 2:
        return None, None
    order = np.random.default_rng(0).permutation(num_facts)
    choice, report = order[: num_facts // 2], order[num_facts // 2 :]
    means = {
        size: np.mean([blocks[Cell(level, size)][:, choice].mean() for level in levels])
        for size in common[:-1]
    }
    lowest = min(means, key=lambda size: means[size])
    differences = []
    for level in sorted(levels):
        large, small = blocks[Cell(level, common[-1])], blocks[Cell(level, lowest)]
        num_seeds = min(len(large), len(small))
        differences.append((large[:num_seeds] - small[:num_seeds])[:, report])
    return lowest, mean_over_seeds_and_facts(np.vstack(differences))


def measure_concentration(tables: Tables) -> Concentration:
    """The held fractions over all runs, and the relative ranking against its null."""
    rows = tables.concentration.filter(pl.col("held").is_not_null())
    held = _over_runs(rows, "ranking", "held")
    bases = pl.concat(
        tables.concentration.filter(ranking="relative").select(
            "top", base=pl.lit(name), part=pl.when(pl.col("num_top") > 0).then(column)
        )
        for column, name in ((pl.col(c) / pl.col("num_top"), name) for c, name in BASES.items())
    ).drop_nulls()
    tops = [top for ranking, top in held if ranking == "relative"]
    reference = min(tops, key=lambda top: abs(top - _REFERENCE_TOP)) if tops else None
    pairs = (
        rows.filter(pl.col("top") == reference)
        .pivot("ranking", index="run", values="held")
        .drop_nulls()
        if reference is not None
        else pl.DataFrame()
    )
    over = None
    if {"relative", "null"} <= set(pairs.columns) and len(pairs):
        gap = (pairs["relative"] - pairs["null"]).to_numpy()
        over = Held(float(gap.mean()), float(gap.min()), float(gap.max()), len(gap))
    return Concentration(
        held=held,
        bases=_over_runs(bases, "base", "part"),
        reference_top=reference,
        over_null=over,
    )


def _over_runs(rows: pl.DataFrame, kind: str, value: str) -> dict[tuple[str, float], Held]:
    """Mean and range by kind and top."""
    part = pl.col(value)
    return {
        (name, top): Held(mean, low, high, count)
        for name, top, mean, low, high, count in rows.group_by(kind, "top")
        .agg(part.mean().alias("mean"), part.min().alias("low"), part.max().alias("high"), pl.len())
        .sort(kind, "top")
        .iter_rows()
    }


def norm_removed(restorations: pl.DataFrame) -> dict[tuple[str, float], Held]:
    """The fraction of the update's squared norm that a method takes out, by method and share.

    A method that takes no share is left out.

    Args:
        restorations: method, share (percent) and norm_removed of every run.
    """
    rows = restorations.drop_nulls(["norm_removed", "share"])
    return {
        (method, share): Held(mean, low, high, count)
        for method, share, mean, low, high, count in rows.group_by("method", "share")
        .agg(
            pl.col("norm_removed").mean().alias("mean"),
            pl.col("norm_removed").min().alias("low"),
            pl.col("norm_removed").max().alias("high"),
            pl.len(),
        )
        .sort("method", "share")
        .iter_rows()
    }
