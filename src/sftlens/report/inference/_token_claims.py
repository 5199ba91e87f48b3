"""Shift of token probabilities (paper section 5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sftlens.report._answers import Cell
from sftlens.report._shift import RunPoint, measure_divergence
from sftlens.report.inference._claim import Claim, Compared, OverRuns
from sftlens.report.inference._crossed import Contrast
from sftlens.report.inference._evidence import (
    Evidence,
    Middles,
    NotMeasuredError,
    middle_sizes,
)

LOW_LEVELS = (0, 1)
_MIN_CELLS = 6
_NUM_RESAMPLES = 9999

Floats = NDArray[np.float64]


def token_claims() -> list[Claim]:
    """The claims of both token-level findings."""
    return [
        Claim(
            name="kl-falls",
            source="token finding 1",
            sentence="Token probabilities shift less with a middle training set than a small one.",
            paper="KL falls from 60 to 240 samples",
            domain="in",
            unit="nats",
            between_training_sets=True,
            measure=partial(_change, smallest=True),
        ),
        Claim(
            name="kl-rises",
            source="token finding 1",
            sentence="Beyond it they shift more.",
            paper="KL rises beyond 240 samples",
            domain="in",
            unit="nats",
            between_training_sets=True,
            measure=partial(_change, smallest=False),
        ),
        Claim(
            name="kl-rises-low-levels",
            source="token finding 1",
            sentence="They do so most after training on facts of levels 0 and 1.",
            paper="most for levels 0 and 1",
            domain="in",
            unit="nats",
            between_training_sets=True,
            measure=_low_levels,
        ),
        Claim(
            name="kl-accuracy",
            source="token finding 2",
            sentence="More shift goes with lower accuracy on well-known facts.",
            paper="seen on level 4; no coefficient given",
            domain="in",
            unit="correlation",
            claimed="below",
            between_training_sets=True,
            measure=_correlation,
        ),
    ]


def _change(evidence: Evidence, *, smallest: bool) -> Compared:
    """KL at the smallest, or at the largest size, minus that at the middle one."""
    sizes, middles, facts = _sizes(evidence)
    end = sizes[0] if smallest else sizes[-1]
    levels = sorted({cell.level for cell in evidence.kl})
    contrast = _contrast(evidence, end, middles, facts, lambda _: 1 / len(levels))
    return Compared(contrasts=(contrast,), text=f"{end:,} minus {middles.told}")


def _low_levels(evidence: Evidence) -> Compared:
    sizes, middles, facts = _sizes(evidence)
    levels = {cell.level for cell in evidence.kl}
    low, high = levels & set(LOW_LEVELS), levels - set(LOW_LEVELS)
    if not low or not high:
        raise NotMeasuredError("KL needs models of levels 0 or 1 and of higher ones")
    contrast = _contrast(
        evidence,
        sizes[-1],
        middles,
        facts,
        lambda level: 1 / len(low) if level in low else -1 / len(high),
    )
    text = f"{sizes[-1]:,} minus {middles.told}, levels 0 and 1 minus the others"
    return Compared(contrasts=(contrast,), text=text)


def _sizes(evidence: Evidence) -> tuple[list[int], Middles, NDArray[np.bool_]]:
    """The sizes all levels have a KL of, the middle one, and the facts no choice saw."""
    grid = evidence.kl
    levels = {cell.level for cell in grid}
    by_level = [{cell.size for cell in grid if cell.level == level} for level in levels]
    sizes = sorted(set.intersection(*by_level))
    if len(sizes) < 3:
        raise NotMeasuredError("a fall and a rise need three sizes that all levels have a KL of")
    num_facts = len(next(iter(next(iter(grid.values())).values())))
    half = np.zeros(num_facts, dtype=np.bool_)
    half[np.random.default_rng(0).permutation(num_facts)[: num_facts // 2]] = True
    choice = {
        cell: {seed: -float(row[half].mean()) for seed, row in rows.items()}
        for cell, rows in grid.items()
    }
    middles = middle_sizes(sizes[1:-1], choice, sizes[-1])
    return sizes, middles, ~half if middles.chosen else np.ones(num_facts, dtype=np.bool_)


def _contrast(
    evidence: Evidence,
    end: int,
    middles: Middles,
    facts: NDArray[np.bool_],
    weight: Callable[[int], float],
) -> Contrast:
    grid = evidence.kl
    strata = []
    for level in sorted({cell.level for cell in grid}):
        stratum = [
            weight(level) * (row - grid[Cell(level, middles.by_seed[seed])][seed])[facts]
            for seed, row in sorted(grid[Cell(level, end)].items())
            if seed in middles.by_seed and seed in grid[Cell(level, middles.by_seed[seed])]
        ]
        if not stratum:
            raise NotMeasuredError(f"level {level} has no seed with a KL at both sizes")
        strata.append(np.stack(stratum))
    num_facts = int(facts.sum())
    return Contrast(tuple(strata), np.zeros(num_facts, np.int64), lowest=None, highest=None)


def _correlation(evidence: Evidence) -> OverRuns:
    evidence.table("divergence")
    points = measure_divergence(evidence.study).points
    kl, accuracy = _cell_means(points)
    if len(kl) < _MIN_CELLS:
        raise NotMeasuredError(
            f"{len(kl)} training conditions have a KL; a correlation needs {_MIN_CELLS}"
        )
    if np.ptp(kl) == 0 or np.ptp(accuracy) == 0:
        raise NotMeasuredError("KL or accuracy is the same under all training conditions")
    found = rank_correlation(kl, accuracy)
    num_sets = min(sum((p.level, p.size) == (q.level, q.size) for p in points) for q in points)
    return OverRuns(
        value=found[0],
        low=found[1],
        high=found[2],
        p=found[3],
        covers="training conditions",
        text=f"Spearman over {len(kl)} training conditions, their training sets put together",
        num_facts=min(point.num_facts for point in points),
        num_training_sets=num_sets,
    )


def _cell_means(points: list[RunPoint]) -> tuple[Floats, Floats]:
    cells = sorted({(point.level, point.size) for point in points})
    means = [
        np.mean([(p.kl, p.accuracy) for p in points if (p.level, p.size) == cell], axis=0)
        for cell in cells
    ]
    kl, accuracy = np.array(means).reshape(-1, 2).T
    return kl, accuracy


def rank_correlation(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    """Spearman's correlation with the ends of its 95 % interval and its p value.

    The interval is a percentile bootstrap over the points. The p value is that of permutations:
    how often pairs put together at random agree as much, two-sided.
    """
    rng = np.random.default_rng(0)
    value = float(stats.spearmanr(x, y)[0])
    shuffled = rng.permuted(np.tile(stats.rankdata(y), (_NUM_RESAMPLES, 1)), axis=1)
    null = _pearson(np.broadcast_to(stats.rankdata(x), shuffled.shape), shuffled)
    p = (1 + int(np.sum(np.abs(null) >= abs(value) - 1e-12))) / (_NUM_RESAMPLES + 1)
    drawn = rng.integers(len(x), size=(_NUM_RESAMPLES, len(x)))
    resampled = _pearson(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return value, float(low), float(high), p


def _pearson(x: Floats, y: Floats) -> Floats:
    """Pearson's correlation of each row; NaN where a side is constant."""
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return found
