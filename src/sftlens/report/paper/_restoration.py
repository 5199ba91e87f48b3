"""Restorations beside their controls, and whole layer groups (paper section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sftlens.report._answers import TUNED, Answers, Cell, Row
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import (
    DIFFERENCE,
    NUMBERS,
    VALUE,
    Asked,
    Interval,
    accuracy_of,
    frame,
    intervals,
    paired,
)
from sftlens.report.paper._study import Study, cell_order, test_mask

_CELL = {
    "domain": pl.String,
    "level": pl.Int64,
    "size": pl.Int64,
    "method": pl.String,
    "share": pl.Float64,
}
_LAYERS = {
    "domain": pl.String,
    "level": pl.Int64,
    "size": pl.Int64,
    "first_layer": pl.Int64,
    "last_layer": pl.Int64,
}
NO_DIFFERENCE: dict[str, float | None] = {
    "difference": 0.0,
    "difference_low": 0.0,
    "difference_high": 0.0,
}


class Removal(NamedTuple):
    """What a restoration took of the update, the means over training sets; None if not known."""

    norm_removed: float | None  # fraction of the squared norm
    strength: float | None  # percent, of the method's own


def removals(study: Study) -> dict[Cell, Removal]:
    """What each cell of restored models took of the update; empty where it was not measured."""
    try:
        table = study.whole("restorations")
    except NotMeasuredError:
        return {}
    columns = [
        name
        for name in ("norm_removed", "strength")
        if name in table.columns and table[name].dtype.is_numeric()
    ]
    if not {"run", "method", "share"} <= set(table.columns) or table.is_empty():
        return {}
    found: dict[Cell, list[dict[str, Any]]] = {}
    for row in table.select("run", "method", "share", *columns).iter_rows(named=True):
        run = study.run(row["run"], "restorations")
        share = None if row["share"] is None else float(row["share"])
        found.setdefault(Cell(run.level, run.size, row["method"], share), []).append(row)
    return {
        cell: Removal(_mean(rows, "norm_removed"), _mean(rows, "strength"))
        for cell, rows in found.items()
    }


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    values = sorted(row[column] for row in rows if row.get(column) is not None)
    return float(np.mean(values)) if len(values) == len(rows) else None


def restoration(study: Study) -> pl.DataFrame:
    """Accuracy after each restoration, by method and share (paper Table 4, with its controls).

    Returns:
        domain, level and size of training, method (``tuned``: nothing restored, its share null),
        share (percent), value, low, high, difference from the tuned model with difference_low and
        difference_high (paired over training sets and facts; exactly 0 where nothing of the update
        was removed), norm_removed (fraction of the update's squared norm), strength (percent, the
        method's own), num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when no restored model was scored.
    """
    answers = study.answers
    removed = removals(study)
    restored = {cell[:2] for cell in answers.rows if cell.method != TUNED}
    cells = sorted((cell for cell in answers.rows if cell[:2] in restored), key=cell_order)
    if not cells:
        raise NotMeasuredError("no restored model was scored")
    keys = [(domain, cell) for domain in answers.domains for cell in cells]
    masks = {domain: test_mask(answers, domain, chosen=False) for domain in answers.domains}
    values = intervals(
        answers, (accuracy_of(answers.rows[cell].values(), masks[domain]) for domain, cell in keys)
    )
    differences = intervals(
        answers, (paired(_beside_tuned(answers, cell), masks[domain]) for domain, cell in keys)
    )
    rows = []
    for (domain, cell), value, difference in zip(keys, values, differences, strict=True):
        took = removed.get(cell, Removal(None, None))
        row = {**cell._asdict(), "domain": domain, **value.numbers, **value.counts}
        rows.append({**row, **_difference(cell, difference, took), **took._asdict()})
    return frame(
        rows,
        _CELL,
        VALUE,
        DIFFERENCE,
        {"norm_removed": pl.Float64, "strength": pl.Float64},
        NUMBERS,
    )


def _beside_tuned(answers: Answers, cell: Cell) -> list[tuple[Row, Row]]:
    tuned = answers.rows.get(Cell(*cell[:2]), {})
    if cell.method == TUNED:
        return []
    return [(row, tuned[seed]) for seed, row in answers.rows[cell].items() if seed in tuned]


def _difference(cell: Cell, found: Interval, took: Removal) -> Mapping[str, float | None]:
    """Where nothing was removed the two models are one, and the difference is known."""
    if cell.method != TUNED and took.norm_removed == 0.0 and found.value == 0.0:
        return NO_DIFFERENCE
    return found.difference


def layer_groups(study: Study) -> pl.DataFrame:
    """Accuracy after giving whole groups of layers back (paper Table 11).

    Returns:
        domain, level and size of training, first_layer and last_layer (from 0, inclusive; null:
        the tuned model), value, low, high, difference from the tuned model with difference_low
        and difference_high (paired), num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when no layer group was given back.
    """
    answers = study.answers
    found: dict[tuple[int, int, int, int], dict[int, Row]] = {}
    for (name, first, last), row in study.rows(
        "layer_scores", ("run", "first_layer", "last_layer")
    ).items():
        run = study.run(name, "layer_scores")
        group = (run.level, run.size, int(str(first)), int(str(last)))
        found.setdefault(group, {})[run.seed] = row
    if not found:
        raise NotMeasuredError("table layer_scores is empty")
    keys: list[dict[str, Any]] = []
    accuracies: list[Asked] = []
    differences: list[Asked] = []

    def add(group: tuple[int, int, int | None, int | None], of: Mapping[int, Row]) -> None:
        level, size, first, last = group
        tuned = answers.rows.get(Cell(level, size), {})
        pairs = [(row, tuned[seed]) for seed, row in sorted(of.items()) if seed in tuned]
        for domain in answers.domains:
            mask = test_mask(answers, domain, chosen=False)
            keys.append(dict(zip(_LAYERS, (domain, level, size, first, last), strict=True)))
            accuracies.append(accuracy_of([row for _, row in sorted(of.items())], mask))
            differences.append(paired(pairs if first is not None else [], mask))

    for level, size in sorted({group[:2] for group in found}):
        add((level, size, None, None), answers.rows.get(Cell(level, size), {}))
        for group in sorted(group for group in found if group[:2] == (level, size)):
            add(group, found[group])
    rows = [
        {**key, **value.numbers, **difference.difference, **value.counts}
        for key, value, difference in zip(
            keys, intervals(answers, accuracies), intervals(answers, differences), strict=True
        )
    ]
    rows.sort(key=lambda row: row["domain"])
    return frame(rows, _LAYERS, VALUE, DIFFERENCE, NUMBERS)
