"""What tuned and restored models still know of their own training facts (paper Table 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from sftlens.report._answers import TUNED, Cell, Row
from sftlens.report._statistics import mean_with_interval
from sftlens.report.inference import Contrast, infer
from sftlens.report.paper._intervals import (
    DIFFERENCE,
    NUM_RESAMPLES,
    NUMBERS,
    VALUE,
    Interval,
    frame,
    wider,
)
from sftlens.report.paper._restoration import NO_DIFFERENCE, removals
from sftlens.report.paper._study import Study

_CELL = {"level": pl.Int64, "size": pl.Int64, "method": pl.String, "share": pl.Float64}


def training_set(study: Study) -> pl.DataFrame:
    """Accuracy on the training facts, before and after each restoration (paper Table 6).

    Each training set has its own facts: a value is the mean of the sets' accuracies. Its interval
    holds Student's over the sets and the bootstrap's over the facts within them.

    Returns:
        level and size of training, method (``tuned``: nothing restored, its share null), share
        (percent), value, low, high, difference from the tuned model with difference_low and
        difference_high (paired), num_facts (of all sets), num_training_sets.

    Raises:
        NotMeasuredError: when no model was asked its training facts.
    """
    cells = study.training
    removed = removals(study)
    rows: list[dict[str, Any]] = []
    for cell, by_seed in cells.items():
        tuned = cells.get(Cell(*cell[:2]), {})
        value = _mean([row[row >= 0].astype(np.float32) for row in by_seed.values()], 0.0)
        difference = _mean(
            [_less(row, tuned[seed]) for seed, row in by_seed.items() if seed in tuned], -1.0
        )
        told = {} if cell.method == TUNED else difference.difference
        if cell in removed and removed[cell].norm_removed == 0.0 and difference.value == 0.0:
            told = NO_DIFFERENCE
        rows.append({**cell._asdict(), **value.numbers, **told, **value.counts})
    return frame(rows, _CELL, VALUE, DIFFERENCE, NUMBERS)


def _less(row: Row, other: Row) -> np.ndarray:
    known = (row >= 0) & (other >= 0)
    return row[known].astype(np.float32) - other[known]


def _mean(of_sets: Sequence[np.ndarray], lowest: float) -> Interval:
    measured = [values for values in of_sets if len(values)]
    if not measured:
        return Interval(None, None, None, 0, 0)
    values = np.concatenate(measured)
    sets = np.repeat(np.arange(len(measured)), [len(part) for part in measured])
    found = infer([Contrast((values[None],), sets, lowest=lowest)], num_resamples=NUM_RESAMPLES)[
        0
    ].estimate
    means = np.array([float(part.mean(dtype=np.float64)) for part in measured])
    bounded = wider(found, mean_with_interval(means)).within(lowest, 1.0)
    return Interval(*bounded, len(values), len(measured))
