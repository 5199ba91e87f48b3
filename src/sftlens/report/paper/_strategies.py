"""Strategies side by side (paper Table 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sftlens.report._answers import Answers, Cell, Row
from sftlens.report.inference._evidence import NotMeasuredError, headlines
from sftlens.report.paper._intervals import (
    DIFFERENCE,
    NUMBERS,
    VALUE,
    Asked,
    accuracy_of,
    frame,
    intervals,
    paired,
    unpaired,
)
from sftlens.report.paper._study import CHOSEN_ON, Study, test_mask
from sftlens.report.paper._trained_otherwise import STRATEGIES, strategy_runs

BASE, BY_LEVEL, RESTORATION = "base", "by level", "restoration"
ALL_STRATEGIES = (BASE, *STRATEGIES, BY_LEVEL, RESTORATION)
NOT_TRAINED = -1  # for a seed


class _Models(NamedTuple):
    """The models of one condition, by seed; one that was not trained here under NOT_TRAINED."""

    strategy: str
    method: str | None
    level: int | None
    size: int | None
    share: float | None
    rows: Mapping[int, Row]
    chosen: bool = False

    @property
    def cell(self) -> tuple[int | None, int | None]:
        return self.level, self.size


def strategies(study: Study) -> pl.DataFrame:
    """The base model and what each strategy makes of it (paper Table 7).

    A training level, and a share of a restoration, is the one that does best on facts that the
    accuracies here leave out; all are at the largest size (of those restored, where some were).
    Where the choice facts were not asked, every candidate stands in the table.

    Returns:
        strategy (``base``, ``instruct``, ``mixed``, ``lora``, ``by level``, ``restoration``, as
        far as they were measured), method (of a restoration; ``relative`` is the paper's), level,
        size, share (percent), chosen_on (what level and share were chosen on; null where there was
        no choice), domain, value, low, high, difference from ``by level`` with difference_low and
        difference_high (paired over training sets where they are the same), num_facts (all
        strategies over the same ones), num_training_sets (null where none was drawn).

    Raises:
        NotMeasuredError: when no tuned model was scored.
    """
    answers = study.answers
    by_level = _best(answers, BY_LEVEL, [answers.largest(k) for k in answers.levels_trained])
    reference = by_level[0] if len(by_level) == 1 else None
    models = [*_base(study), *_others(study, reference), *by_level]
    for method in answers.methods():
        sizes = {level: answers.largest(level).size for level in answers.levels_trained}
        cells = [cell for cell in answers.cells if cell.method == method]
        at_largest = [cell for cell in cells if cell.size == sizes.get(cell.level)]
        models += _best(answers, RESTORATION, at_largest)
    answered = np.all([row >= 0 for one in models for row in one.rows.values()], axis=0)
    keys: list[tuple[_Models, str]] = []
    accuracies: list[Asked] = []
    differences: list[Asked] = []
    for one in models:
        for domain in answers.domains:
            mask = test_mask(answers, domain, chosen=True) & answered
            keys.append((one, domain))
            accuracies.append(accuracy_of(one.rows.values(), mask))
            differences.append(_difference(one, reference, mask))
    rows = [
        {
            **_described(one, answers),
            "domain": domain,
            **value.numbers,
            **difference.difference,
            "num_facts": value.num_facts,
            "num_training_sets": None if NOT_TRAINED in one.rows else value.num_training_sets,
        }
        for (one, domain), value, difference in zip(
            keys, intervals(answers, accuracies), intervals(answers, differences), strict=True
        )
    ]
    return frame(
        rows,
        {
            "strategy": pl.String,
            "method": pl.String,
            "level": pl.Int64,
            "size": pl.Int64,
            "share": pl.Float64,
            "chosen_on": pl.String,
            "domain": pl.String,
        },
        VALUE,
        DIFFERENCE,
        NUMBERS,
    )


def _described(one: _Models, answers: Answers) -> dict[str, Any]:
    return {
        "strategy": one.strategy,
        "method": one.method,
        "level": one.level,
        "size": one.size,
        "share": one.share,
        "chosen_on": CHOSEN_ON[answers.choice_kind] if one.chosen else None,
    }


def _difference(one: _Models, reference: _Models | None, mask: np.ndarray) -> Asked:
    if reference is None or one.strategy == BY_LEVEL:
        return Asked([], mask)
    if one.strategy == RESTORATION and one.cell == reference.cell:
        shared = [seed for seed in reference.rows if seed in one.rows]
        return paired([(one.rows[seed], reference.rows[seed]) for seed in shared], mask)
    return unpaired(one.rows.values(), reference.rows.values(), mask)


def _base(study: Study) -> list[_Models]:
    if study.base is None:
        return []
    return [_Models(BASE, None, None, None, None, {NOT_TRAINED: study.base})]


def _others(study: Study, reference: _Models | None) -> list[_Models]:
    runs = {one.run: one for one in strategy_runs(study, required=False)}
    if not runs:
        return []
    try:
        read = study.rows("strategy_scores", ("run",))
    except NotMeasuredError:
        return []
    rows = {run: read[run,] for run in runs if (run,) in read}
    answers = study.answers
    found: list[_Models] = []
    for strategy in STRATEGIES:
        cells: dict[tuple[int | None, int | None], dict[int, Row]] = {}
        for name, row in rows.items():
            run = runs[name]
            if run.strategy == strategy:
                seed = NOT_TRAINED if run.seed is None else run.seed
                cells.setdefault((run.level, run.size), {})[seed] = row
        if reference is not None and any(size == reference.size for _, size in cells):
            cells = {cell: by for cell, by in cells.items() if cell[1] == reference.size}
        candidates = [
            _Models(strategy, None, level, size, None, by) for (level, size), by in cells.items()
        ]
        found += _chosen(answers, candidates)
    return found


def _best(answers: Answers, strategy: str, cells: Iterable[Cell]) -> list[_Models]:
    return _chosen(
        answers,
        [
            _Models(
                strategy,
                cell.method if strategy == RESTORATION else None,
                cell.level,
                cell.size,
                cell.share,
                answers.rows[cell],
            )
            for cell in cells
        ],
    )


def _chosen(answers: Answers, candidates: Sequence[_Models]) -> list[_Models]:
    """The candidate that does best on the choice facts; all, where these were not asked."""
    if len(candidates) < 2:
        return list(candidates)
    rows = [row for one in candidates for row in one.rows.values()]
    try:
        values = iter(headlines(rows, answers, answers.choice))
    except NotMeasuredError:
        return list(candidates)
    means = [float(np.mean([next(values) for _ in one.rows])) for one in candidates]
    return [candidates[int(np.argmax(means))]._replace(chosen=True)]
