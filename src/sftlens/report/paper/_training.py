"""Accuracy by size and level of the training sets (paper section 4)."""

from __future__ import annotations

import numpy as np
import polars as pl

from sftlens.report._answers import TUNED, Answers, Cell
from sftlens.report.paper._intervals import NUMBERS, VALUE, Asked, accuracy_of, frame, intervals
from sftlens.report.paper._study import Study, test_mask

MEAN = "mean"
_CELL = {"domain": pl.String, "level": pl.Int64, "size": pl.Int64}


def accuracy_by_size(study: Study) -> pl.DataFrame:
    """The headline accuracy by training level and size (paper Figures 2 and 6).

    Returns:
        domain, level, size (as asked for), num_training_facts (mean of the training sets), value,
        low, high, num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when no tuned model was scored.
    """
    answers = study.answers
    keys = [(domain, cell) for domain in answers.domains for cell in tuned_cells(answers)]
    asked = (
        accuracy_of(answers.rows[cell].values(), test_mask(answers, domain, chosen=False))
        for domain, cell in keys
    )
    rows = [
        {
            "domain": domain,
            "level": cell.level,
            "size": cell.size,
            "num_training_facts": study.num_training_facts[cell.level, cell.size],
            **found.numbers,
            **found.counts,
        }
        for (domain, cell), found in zip(keys, intervals(answers, asked), strict=True)
    ]
    return frame(rows, _CELL, {"num_training_facts": pl.Float64}, VALUE, NUMBERS)


def accuracy_by_level(study: Study) -> pl.DataFrame:
    """Accuracy by mastery level of the test facts, at each size (paper Table 2).

    Returns:
        domain, level and size of training, test_level (``0`` to ``4``, and ``mean`` of the
        levels), value, low, high, num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when no tuned model was scored.
    """
    answers = study.answers
    keys: list[tuple[str, Cell, str]] = []
    asked: list[Asked] = []
    for domain in answers.domains:
        mask = test_mask(answers, domain, chosen=False)
        parts = {str(k): mask & (answers.levels == k) for k in np.unique(answers.levels[mask])}
        for cell in tuned_cells(answers):
            for name, part in {**parts, MEAN: mask}.items():
                keys.append((domain, cell, name))
                asked.append(accuracy_of(answers.rows[cell].values(), part))
    rows = [
        {
            "domain": domain,
            "level": cell.level,
            "size": cell.size,
            "test_level": name,
            **found.numbers,
            **found.counts,
        }
        for (domain, cell, name), found in zip(keys, intervals(answers, asked), strict=True)
    ]
    return frame(rows, _CELL, {"test_level": pl.String}, VALUE, NUMBERS)


def tuned_cells(answers: Answers) -> list[Cell]:
    """The cells of tuned models, by level and size."""
    return sorted(
        (cell for cell in answers.rows if cell.method == TUNED), key=lambda cell: cell[:2]
    )
